import "@nightingale-elements/nightingale-conservation-track";
import "@nightingale-elements/nightingale-linegraph-track";
import "@nightingale-elements/nightingale-manager";
import "@nightingale-elements/nightingale-navigation";
import "@nightingale-elements/nightingale-sequence";

import "./app";
import "./copy-button";
import "./dense-matrix";
import "./position-axis";
import "./style.css";
import "./figures.css";
