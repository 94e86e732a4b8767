"""What schemathesis has to know of us: which host answers, what NDJSON is, and that a call is written down."""

import json
import os

import schemathesis
from hypothesis import strategies

WORLD = json.load(open(os.environ["RS1_CONTRACT_WORLD"], encoding="utf-8"))
CALLS = open(os.environ["RS1_CONTRACT_CALLS"], "a", encoding="utf-8", buffering=1)
NDJSON = "application/x-ndjson"


@schemathesis.serializer(NDJSON)
def lines(ctx, value):
    if isinstance(value, bytes):
        return value
    items = value if isinstance(value, list) else [value]
    return "\n".join(json.dumps(item) for item in items).encode("utf-8", errors="surrogatepass")


@schemathesis.deserializer(NDJSON)
def items(ctx, response):
    return [json.loads(line) for line in response.content.decode("utf-8").split("\n") if line]


def image(path):
    with open(path, "rb") as file:
        return file.read()


# Most bytes are no firmware: every other upload is.
IMAGES = [image(path) for path in WORLD["images"]]
schemathesis.openapi.media_type(
    "application/octet-stream", strategies.sampled_from(IMAGES) | strategies.binary(min_size=1, max_size=256)
)


def name_of(case):
    return case.operation.definition.raw["operationId"]


@schemathesis.hook
def before_call(context, case, kwargs):
    # Everything answers at one address; the host tells the workers apart, as it does in production.
    case.headers["Host"] = WORLD["hosts"][name_of(case)]


@schemathesis.hook
def after_call(context, case, response):
    meant = case.meta.generation.mode.value if case.meta else "positive"
    CALLS.write(json.dumps({"operation": name_of(case), "meant": meant, "status": response.status_code}) + "\n")
