/** <position-axis>: the numbers of the residues, below a track that has none. */

import { html } from "lit";
import { OnAxis } from "./on-axis";

const HEIGHT = 16;

class PositionAxis extends OnAxis {
  override render() {
    return html`<canvas aria-hidden="true"></canvas>`;
  }

  protected override draw(): void {
    this.writePositions(this.blank(HEIGHT), 3);
  }
}

customElements.define("position-axis", PositionAxis);
