"""What a key may do: each verb by itself, or with the store's code of refusal."""

import sys

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

bucket, _, folder = sys.argv[1].partition("/")
prefix = folder + "/" if folder else ""
key = prefix + "seen.txt"
s3 = boto3.client(
    "s3", config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 1})
)


def attempt(verb, call, forgiven=(), **arguments):
    try:
        call(Bucket=bucket, **arguments)
    except ClientError as error:
        code = error.response["Error"]["Code"]
        # What is not there may be asked for all the same.
        return verb if code in forgiven else f"{verb}:{code}"
    return verb


print(
    attempt("put", s3.put_object, Key=key, Body=b"seen"),
    attempt("get", s3.get_object, Key=key, forgiven=["NoSuchKey"]),
    attempt("list", s3.list_objects_v2, Prefix=prefix),
    attempt("delete", s3.delete_object, Key=key),
)
