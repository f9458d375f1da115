"""Asks a server of backpropane with OpenAI's own client, and checks what it makes of the answers.

    pip install openai
    backpropane serve --model SmolLM2-135M-Instruct.gguf &
    python tests/serve/openai_client.py [http://127.0.0.1:8080/v1] [KEY]
"""

import sys

import openai

base = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8080/v1"
client = openai.OpenAI(base_url=base, api_key=sys.argv[2] if len(sys.argv) > 2 else "none", max_retries=0)
model = client.models.list().data[0].id
assert client.models.retrieve(model).id == model
print("model", model)

# A chat, whole and in events.
ask = dict(
    model=model,
    messages=[
        {"role": "developer", "content": "You are terse."},
        {"role": "user", "content": [{"type": "text", "text": "What is the capital of France?"}]},
    ],
    temperature=0,
    max_completion_tokens=24,
)
whole = client.chat.completions.create(**ask)
text = whole.choices[0].message.content
print("chat", repr(text), whole.choices[0].finish_reason, whole.usage)
assert whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens
streamed, usage, roles = "", None, 0
for chunk in client.chat.completions.create(**ask, stream=True, stream_options={"include_usage": True}):
    usage = chunk.usage or usage
    for choice in chunk.choices:
        streamed += choice.delta.content or ""
        roles += choice.delta.role == "assistant"
assert (streamed, usage, roles) == (text, whole.usage, 1), (streamed, usage, roles)

# The client's own helper for events.
with client.chat.completions.stream(**ask) as events:
    last = [event for event in events if event.type == "content.done"]
assert last[0].content == text

# Probabilities.
likely = client.chat.completions.create(**ask, logprobs=True, top_logprobs=3).choices[0].logprobs.content
assert all(token.top_logprobs[0].logprob >= token.logprob - 1e-9 for token in likely)
assert bytes(b for token in likely for b in token.bytes).decode(errors="replace").startswith(text[:8])

# Several texts, with seeds; texts to continue; stop strings; tokens.
drawn = [client.chat.completions.create(**{**ask, "temperature": 1.2}, seed=5).choices[0].message for _ in range(2)]
assert drawn[0].content == drawn[1].content
both = client.chat.completions.create(**{**ask, "temperature": 1.2}, n=2, seed=5).choices
assert [choice.index for choice in both] == [0, 1] and both[0].message != both[1].message
done = client.completions.create(model=model, prompt=["Once upon a time", "The sun"], max_tokens=12, temperature=0, logprobs=2)
print("texts", [choice.text for choice in done.choices])
assert len(done.choices) == 2 and len(done.choices[0].logprobs.tokens) == 12
stopped = client.completions.create(
    model=model, prompt="Once upon a time", max_tokens=12, temperature=0, stop=done.choices[0].text[3:7]
)
assert stopped.choices[0].text == done.choices[0].text[:3] and stopped.choices[0].finish_reason == "stop"
pieces = client.completions.create(model=model, prompt="Once upon a time", max_tokens=12, temperature=0, stream=True)
assert "".join(piece.choices[0].text for piece in pieces) == done.choices[0].text

# Errors become the client's exceptions.
def fails(kind, param, **more):
    try:
        client.chat.completions.create(**{**ask, **more})
    except kind as error:
        assert error.param == param, (error.param, param)
        print("error", error.status_code, error.code, "-", error.message)
    else:
        raise AssertionError(f"{more} is not refused")


fails(openai.NotFoundError, "model", model="no-such-model")
fails(openai.BadRequestError, "response_format", response_format={"type": "json_object"})
fails(openai.BadRequestError, "temperature", temperature=3)
fails(openai.BadRequestError, "messages", max_completion_tokens=10**9)
fails(openai.BadRequestError, "mirostat", extra_body={"mirostat": 2})
print("all is as the client wants it")
