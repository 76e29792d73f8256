"""Calls to the server, repeated while it restarts. Reading only, so that a repetition changes nothing."""

import http.client
import json
import os
import random
import time
import urllib.error
import urllib.parse
import urllib.request

#: Seconds to wait for a server that does not answer.
PATIENCE_S = float(os.environ.get("KAOGONG_PATIENCE_S") or 120)
#: Seconds of silence that end one try.
SILENCE_S = 60
#: The largest answer that is read whole, in bytes.
ANSWER_BYTES_MAX = 1 << 28

#: What a broken connection looks like.
BROKEN = (ConnectionError, TimeoutError, http.client.HTTPException, urllib.error.URLError, EOFError)


class Refused(Exception):
    """The server answered that it will not."""


class Gone(Exception):
    """The server could not be reached for longer than the patience."""


def reach_server_directly():
    """Tells HTTP clients of this process not to send calls for the server through a proxy."""
    host = urllib.parse.urlsplit(os.environ.get("KAOGONG_URL", "")).hostname
    if not host:
        return
    for name in ("NO_PROXY", "no_proxy"):
        known = [it for it in os.environ.get(name, "").split(",") if it]
        if host not in known:
            os.environ[name] = ",".join([*known, host])


def setting(name):
    """A variable that the platform sets for every job."""
    value = os.environ.get(name)
    if not value:
        raise RuntimeError(f"{name} is not set: this program is meant to run as a Kaogong job")
    return value


def project_url(*parts, **query):
    """The address of a route of the job's project."""
    base = setting("KAOGONG_URL").rstrip("/")
    path = "/".join(urllib.parse.quote(str(it), safe="") for it in ("projects", setting("KAOGONG_PROJECT"), *parts))
    query = {key: value for key, value in query.items() if value is not None}
    return f"{base}/api/v1/{path}" + (f"?{urllib.parse.urlencode(query)}" if query else "")


def open_url(url):
    """An open answer. Raises Refused, or one of BROKEN."""
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {setting('KAOGONG_TOKEN')}"})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        return opener.open(request, timeout=SILENCE_S)
    except urllib.error.HTTPError as error:
        body = error.read(1 << 16).decode("utf-8", "replace")
        if error.code in (429, 502, 503):
            raise ConnectionError(f"the server is busy: {error.code}") from error
        try:
            body = json.loads(body)["error"]["message"]
        except (ValueError, KeyError, TypeError):
            pass
        raise Refused(f"the server refused {url} with {error.code}: {body}") from error


class Patience:
    """Spreads tries over time and ends them; progress starts the time anew."""

    def __init__(self, seconds=None):
        self.seconds = PATIENCE_S if seconds is None else seconds
        self.progress()

    def progress(self):
        """Something was got."""
        self.until = time.monotonic() + self.seconds
        self.pause_s = 0.1

    def wait(self, error):
        """Waits before the next try. Raises Gone when the patience has ended."""
        if time.monotonic() + self.pause_s > self.until:
            raise Gone(f"the server at {os.environ.get('KAOGONG_URL')} did not answer for {self.seconds:.0f} s: {error}") from error
        time.sleep(self.pause_s * random.uniform(0.5, 1))
        self.pause_s = min(self.pause_s * 2, 2)


def read(url):
    """The whole answer, as bytes; tried again while the server restarts."""
    patience = Patience()
    while True:
        try:
            with open_url(url) as answer:
                body = answer.read(ANSWER_BYTES_MAX + 1)
                wanted = answer.headers.get("Content-Length")
            if len(body) > ANSWER_BYTES_MAX:
                raise Refused(f"{url} answers more than {ANSWER_BYTES_MAX} bytes")
            if wanted is not None and len(body) < int(wanted):
                raise EOFError(f"{len(body)} of {wanted} bytes came")
            return body
        except BROKEN as error:
            patience.wait(error)


def read_json(url):
    """The answer's JSON; tried again while the server restarts."""
    return json.loads(read(url))
