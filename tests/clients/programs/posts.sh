# curl, as on BioLM's page: token, address and body of a call on each line.
while IFS=$'\t' read -r token url body; do
    headers=(--header "Content-Type: application/json")
    [ "$token" = none ] || headers+=(--header "Authorization: Token $token")
    curl --silent --location "$url" "${headers[@]}" --data "$body" --write-out '\t%{http_code}\n'
done
