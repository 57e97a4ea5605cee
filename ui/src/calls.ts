/** What is on the screen as a call to copy: curl, Python, R. */

import { address, base, hasToken, type Call } from "./api";

export type Language = "curl" | "Python" | "R";
export const LANGUAGES: Language[] = ["curl", "Python", "R"];

export function written(call: Call, language: Language): string {
  const url = `${base()}/${address(call)}`;
  const body = JSON.stringify(call.body);
  return { curl, Python: python, R: r }[language](url, body, hasToken());
}

// Bodies have no quote of a shell, of Python or of R in them: letters, numbers and our own words.

function curl(url: string, body: string, token: boolean): string {
  return [
    `curl '${url}'`,
    ...(token ? [`--header 'Authorization: Token YOUR_TOKEN'`] : []),
    `--header 'Content-Type: application/json'`,
    `--data '${body}'`,
  ].join(" \\\n  ");
}

function python(url: string, body: string, token: boolean): string {
  const headers = token ? `    headers={"Authorization": "Token YOUR_TOKEN"},\n` : "";
  return `import requests

reply = requests.post(
    "${url}",
${headers}    json=${body},
)
reply.raise_for_status()
result = reply.json()["results"][0]
print(result.keys())`;
}

function r(url: string, body: string, token: boolean): string {
  const header = token ? `"Authorization" = "Token YOUR_TOKEN", ` : "";
  return `library(RCurl)

reply <- postForm(
  "${url}",
  .opts = list(
    postfields = '${body}',
    httpheader = c(${header}"Content-Type" = "application/json")
  ),
  style = "httppost"
)
cat(reply)`;
}
