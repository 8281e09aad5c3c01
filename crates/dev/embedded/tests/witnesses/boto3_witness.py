"""What boto3 sees of the store. Says "all well", or dies where it does not."""

import hashlib
import io
import sys
import urllib.request

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import ClientError

bucket = sys.argv[1]
s3 = boto3.client("s3", config=Config(signature_version="s3v4"))


def refused(code, call, **arguments):
    try:
        call(Bucket=bucket, **arguments)
    except ClientError as error:
        assert error.response["Error"]["Code"] == code, error
    else:
        raise AssertionError(f"{call} was not refused with {code}")


# Bodies, checksums in trailers, metadata.
for algorithm in ["CRC32", "CRC32C", "SHA1", "SHA256", "CRC64NVME"]:
    try:
        put = s3.put_object(Bucket=bucket, Key="a//" + algorithm, Body=b"body", ChecksumAlgorithm=algorithm, Metadata={"who": "me"})
    except Exception as error:
        # CRC32C and CRC64NVME need a C extension that may not be there.
        if "Missing Dependency" in str(error):
            continue
        raise
    got = s3.get_object(Bucket=bucket, Key="a//" + algorithm, ChecksumMode="ENABLED")
    assert got["Body"].read() == b"body" and got["Metadata"] == {"who": "me"}
    assert got["Checksum" + algorithm] == put["Checksum" + algorithm]

# A file object of unknown content: streamed with aws-chunked.
big = bytes(range(256)) * 50_000
s3.put_object(Bucket=bucket, Key="big", Body=io.BytesIO(big))
head = s3.head_object(Bucket=bucket, Key="big")
assert head["ContentLength"] == len(big) and head["ETag"].strip('"') == hashlib.md5(big).hexdigest()

# In parts.
config = TransferConfig(multipart_threshold=5 << 20, multipart_chunksize=5 << 20)
s3.upload_fileobj(io.BytesIO(big), bucket, "parts", Config=config)
assert s3.get_object(Bucket=bucket, Key="parts")["Body"].read() == big
assert s3.head_object(Bucket=bucket, Key="parts")["ETag"].endswith('-3"')
part = s3.head_object(Bucket=bucket, Key="parts", PartNumber=3)
assert part["ContentLength"] == len(big) - 2 * (5 << 20) and part["PartsCount"] == 3, part

# Conditions.
refused("PreconditionFailed", s3.put_object, Key="big", Body=b"", IfNoneMatch="*")
refused("PreconditionFailed", s3.put_object, Key="big", Body=b"", IfMatch='"other"')
refused("NoSuchKey", s3.get_object, Key="nothing")
refused("404", s3.head_object, Key="nothing")

# Odd keys, listed whole.
odd = ["\x01\x02", "..", "a+b c", "é/日本", "x/../y", "<&>\"'"]
for key in odd:
    s3.put_object(Bucket=bucket, Key="odd/" + key, Body=key.encode())
    assert s3.get_object(Bucket=bucket, Key="odd/" + key)["Body"].read() == key.encode(), key
pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix="odd/", PaginationConfig={"PageSize": 2})
keys = [entry["Key"] for page in pages for entry in page.get("Contents", [])]
assert keys == sorted("odd/" + key for key in odd), keys

# Presigned: GET and PUT.
url = s3.generate_presigned_url("put_object", Params={"Bucket": bucket, "Key": "signed"}, ExpiresIn=60)
urllib.request.urlopen(urllib.request.Request(url, data=b"by url", method="PUT"))
url = s3.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "signed"}, ExpiresIn=60)
assert urllib.request.urlopen(url).read() == b"by url"

# Users: in pages, with keys that the next request knows.
iam = boto3.client("iam")
for n in range(5):
    iam.create_user(UserName=f"user-{n}", Path="/witness/")
pages = iam.get_paginator("list_users").paginate(PathPrefix="/witness/", PaginationConfig={"PageSize": 2})
names = [user["UserName"] for page in pages for user in page["Users"]]
assert names == [f"user-{n}" for n in range(5)], names
document = '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:GetObject","Resource":"*"}]}'
policy = iam.create_policy(PolicyName="read", PolicyDocument=document)["Policy"]
assert policy["DefaultVersionId"] == "v1" and policy["AttachmentCount"] == 0, policy
iam.attach_user_policy(UserName="user-0", PolicyArn=policy["Arn"])
assert iam.get_policy(PolicyArn=policy["Arn"])["Policy"]["AttachmentCount"] == 1
key = iam.create_access_key(UserName="user-0")["AccessKey"]
assert iam.list_access_keys(UserName="user-0")["AccessKeyMetadata"][0]["Status"] == "Active"
theirs = boto3.client("s3", aws_access_key_id=key["AccessKeyId"], aws_secret_access_key=key["SecretAccessKey"])
assert theirs.get_object(Bucket=bucket, Key="signed")["Body"].read() == b"by url"
try:
    iam.delete_user(UserName="user-0")
    raise AssertionError("a user with a key was deleted")
except iam.exceptions.DeleteConflictException:
    pass
try:
    iam.get_user(UserName="nobody")
    raise AssertionError("nobody is there")
except iam.exceptions.NoSuchEntityException:
    pass
iam.delete_access_key(UserName="user-0", AccessKeyId=key["AccessKeyId"])
iam.detach_user_policy(UserName="user-0", PolicyArn=policy["Arn"])
iam.delete_policy(PolicyArn=policy["Arn"])
for name in names:
    iam.delete_user(UserName=name)

# Away with it.
for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket):
    keys = [{"Key": entry["Key"]} for entry in page.get("Contents", [])]
    # Quiet: an answer that names a control character is no XML that Python would read.
    assert "Errors" not in s3.delete_objects(Bucket=bucket, Delete={"Objects": keys, "Quiet": True})
s3.delete_bucket(Bucket=bucket)
print("all well")
