# R with RCurl, as on BioLM's page: token, address and body of a call on each line.
library(RCurl)

post <- function(url, payload, headers) {
  tryCatch(
    paste0(
      postForm(url, .opts = list(postfields = payload, httpheader = headers, followlocation = TRUE), style = "httppost"),
      "\t200"
    ),
    # postForm stops with the name of the status alone; getURL gives what was said.
    error = function(error) {
      handle <- getCurlHandle()
      said <- getURL(url, postfields = payload, httpheader = headers, curl = handle)
      paste0(said, "\t", getCurlInfo(handle)$response.code)
    }
  )
}

for (line in readLines(file("stdin"))) {
  call <- strsplit(line, "\t")[[1]]
  headers <- c("Content-Type" = "application/json")
  if (call[1] != "none") headers <- c("Authorization" = paste("Token", call[1]), headers)
  cat(post(call[2], call[3], headers), "\n", sep = "")
}
