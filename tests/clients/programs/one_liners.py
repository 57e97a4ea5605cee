"""A script of today: `biolm()`, `Model` and `BioLMApi` of biolmai 0.2 to 0.5 and biolm-sdk."""

import json
import os
import sys

from credentials import using

try:
    import biolm as sdk
except ImportError:
    import biolmai as sdk
else:
    # biolm-sdk asks biolm.ai for the limits of a model, wherever the model is: a wait of 25 s for
    # each call where there is no internet. This line sends it to our server.
    import biolm.core.http

    biolm.core.http._PLATFORM_API_URL = os.environ["SCHEMAS"]


def answer(case):
    items = [{"sequence": sequence} for sequence in case["sequences"]]
    options = case["options"]
    if case["action"] == "log_prob":
        return sdk.BioLMApi(case["slug"], **options).call("log_prob", items)
    if case["action"] == "predict" and hasattr(sdk, "Model"):
        return sdk.Model(case["slug"], **options).predict(items, progress=False)
    if case["lists_of"]:
        lists = [items[i : i + case["lists_of"]] for i in range(0, len(items), case["lists_of"])]
        return sdk.biolm(entity=case["slug"], action=case["action"], items=lists, **options)
    return sdk.biolm(
        entity=case["slug"],
        action=case["action"],
        type="sequence",
        items=case["sequences"],
        params=case["params"],
        **options,
    )


reports = {}
for case in json.load(sys.stdin):
    with using(case["credentials"]):
        try:
            reports[case["name"]] = answer(case)
        except Exception as error:
            status = error.response.status_code if hasattr(error, "response") else None
            told = {"raised": type(error).__name__, "message": str(error), "status_code": status}
            reports[case["name"]] = told
print(json.dumps(reports))
