"""A script of 2024: biolmai's classes, a list in, a row for each item out."""

import json
import sys

from biolmai.cls import ESM2, ESM2_8M
from credentials import using


class ESM2_9M(ESM2):  # noqa: N801, the SDK names its classes so
    slug = "esm2-9m"


MODELS = {"esm2-8m": ESM2_8M, "esm2-9m": ESM2_9M}

reports = {}
for case in json.load(sys.stdin):
    with using(case["credentials"]):
        try:
            model = MODELS[case["slug"]]()
            act = model.encode if case["action"] == "encode" else model.predict
            reports[case["name"]] = act(case["sequences"], params=case["params"])
        except Exception as error:
            reports[case["name"]] = {"raised": type(error).__name__, "message": str(error)}
print()
print(json.dumps(reports))
