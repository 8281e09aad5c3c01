"""A plain S3 client on the standard library: the benchmark's own yardstick and witness."""

import datetime
import hashlib
import hmac
import http.client
import re
import urllib.parse
from xml.sax.saxutils import unescape


class S3:
    """One connection; requests follow each other on it."""

    def __init__(self, endpoint, access_key, secret_key, region="us-east-1"):
        self.endpoint, self.region = endpoint, region
        self.access_key, self.secret_key = access_key, secret_key
        self.host = urllib.parse.urlsplit(endpoint).netloc
        self.connection = http.client.HTTPConnection(self.host, timeout=120)

    def list(self, bucket, prefix=""):
        """Yields (key, size) of all objects, a page of 1,000 after the other."""
        token = None
        while True:
            query = {"list-type": "2", "prefix": prefix, "max-keys": "1000"}
            if token:
                query["continuation-token"] = token
            page = self.request("GET", f"/{bucket}", query).decode()
            for item in re.findall(r"<Contents>(.*?)</Contents>", page, re.S):
                yield unescape(_tag(item, "Key")), int(_tag(item, "Size"))
            token = _tag(page, "NextContinuationToken")
            if not token:
                return

    def total(self, bucket, prefix=""):
        """(objects, bytes) below a prefix, directory markers left out."""
        count = size = 0
        for key, length in self.list(bucket, prefix):
            if not key.endswith("/"):
                count, size = count + 1, size + length
        return count, size

    def create_bucket(self, bucket):
        self.request("PUT", f"/{bucket}", {}, accept=(200, 409))

    def put(self, bucket, key, body):
        self.request("PUT", f"/{bucket}/{key}", {}, body)

    def request(self, method, path, query, body=b"", accept=(200,)):
        headers, target = self._sign(method, path, query, body)
        try:
            self.connection.request(method, target, body, headers)
            answer = self.connection.getresponse()
        except (http.client.HTTPException, OSError):
            # The server closed an idle connection: once more on a new one.
            self.connection.close()
            self.connection.request(method, target, body, headers)
            answer = self.connection.getresponse()
        data = answer.read()
        if answer.status not in accept:
            raise RuntimeError(f"{method} {path}: {answer.status} {data[:300]!r}")
        return data

    def _sign(self, method, path, query, body):
        """Signature Version 4 (AWS General Reference, "Signing AWS API requests")."""
        moment = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
        day, digest = moment[:8], hashlib.sha256(body).hexdigest()
        quoted = urllib.parse.quote(path, safe="/-_.~")
        pairs = sorted((_quote(k), _quote(v)) for k, v in query.items())
        canonical_query = "&".join(f"{k}={v}" for k, v in pairs)
        headers = {"host": self.host, "x-amz-content-sha256": digest, "x-amz-date": moment}
        names = ";".join(sorted(headers))
        lines = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers))
        canonical = "\n".join([method, quoted, canonical_query, lines, names, digest])
        scope = f"{day}/{self.region}/s3/aws4_request"
        hashed = hashlib.sha256(canonical.encode()).hexdigest()
        text = "\n".join(["AWS4-HMAC-SHA256", moment, scope, hashed])
        key = b"AWS4" + self.secret_key.encode()
        for part in (day, self.region, "s3", "aws4_request"):
            key = hmac.new(key, part.encode(), hashlib.sha256).digest()
        signature = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
        credential = f"{self.access_key}/{scope}"
        headers["Authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders={names}, Signature={signature}"
        )
        del headers["host"]
        return headers, quoted + ("?" + canonical_query if canonical_query else "")


def _quote(text):
    return urllib.parse.quote(text, safe="-_.~")


def _tag(text, name):
    found = re.search(f"<{name}>(.*?)</{name}>", text, re.S)
    return found[1] if found else ""
