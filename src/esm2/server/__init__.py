"""The HTTP door: one app, one thin adapter for each generation of BioLM's API. Imports no torch.

app        routes that belong to no generation, and everything put together
v2         BioLM's API of 2023: bodies, mappings, routes
body       a request body: size-limited, gunzipped, parsed, checked
auth       tokens        presence   callers who hang up        errors   class -> status and body
ending     requests that do not come to an end by themselves
memory     what replies may hold until they are sent
encoding   arrays -> JSON
"""
