"""Stands in for a browser in test_bench.py: opens a page's address and reports what SCRIPT says.

    python fake_browser.py SCRIPT.json URL

SCRIPT is {peer: [[measure, value], ...]}; "hang" as a measure goes silent, "die" ends the process.
"""

import json
import sys
import time
import urllib.parse
import urllib.request


def post(base, body):
    request = urllib.request.Request(f"{base}/report", json.dumps(body).encode())
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def main(script, url):
    with open(script) as f:
        lines = json.load(f)
    base = url.split("/", 3)[0] + "//" + url.split("/", 3)[2]
    page = url[len(base) :]
    while page:
        with urllib.request.urlopen(base + page) as answer:
            assert answer.headers["Cross-Origin-Embedder-Policy"] == "require-corp"
        peer = urllib.parse.parse_qs(urllib.parse.urlsplit(page).query)["peer"][0]
        for measure, value in lines[peer]:
            if measure == "hang":
                time.sleep(60)
            if measure == "die":
                return
            post(base, {"peer": peer, "measure": measure, "value": value})
        page = post(base, {"peer": peer, "measure": "end", "value": None})["next"]
    time.sleep(60)  # as a browser, which stays open


main(*sys.argv[1:])
