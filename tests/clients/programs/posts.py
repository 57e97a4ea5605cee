"""Python requests, as on BioLM's page: token, address and body of a call on each line."""

import sys

import requests

for line in sys.stdin:
    token, url, body = line.rstrip("\n").split("\t")
    headers = {"Content-Type": "application/json"}
    if token != "none":
        headers["Authorization"] = f"Token {token}"
    response = requests.post(url, headers=headers, data=body, timeout=60)
    print(response.text, response.status_code, sep="\t")
