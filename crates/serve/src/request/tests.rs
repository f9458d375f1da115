use super::*;

fn read(endpoint: Endpoint, body: Value) -> Result<Request, ApiError> {
    Request::read(endpoint, body.to_string().as_bytes(), 7)
}

fn chat(more: Value) -> Result<Request, ApiError> {
    let mut body = json!({ "model": "m", "messages": [{ "role": "user", "content": "hello" }] });
    let all = body.as_object_mut().unwrap();
    all.extend(more.as_object().unwrap().clone());
    read(Endpoint::Chat, body)
}

#[test]
fn what_is_not_said_is_openais_default() {
    let request = chat(json!({})).unwrap();
    let sampling = &request.options.sampling;
    assert_eq!((sampling.temperature, sampling.top_p, sampling.seed), (1.0, 1.0, 7));
    assert_eq!((request.n, request.stream, request.options.tokens), (1, false, None));
    let request = read(Endpoint::Text, json!({ "model": "m", "prompt": "a" })).unwrap();
    assert_eq!(request.options.tokens, Some(16));
}

#[test]
fn all_fields_are_read() {
    let request = chat(json!({
        "max_completion_tokens": 5, "temperature": 0, "top_p": 0.5, "top_k": 3, "min_p": 0.1, "seed": -1, "n": 2,
        "presence_penalty": -2, "frequency_penalty": 2, "repetition_penalty": 1.5, "logit_bias": {"5": -100, "6": 1.5},
        "stop": ["a", "b"], "stop_token_ids": [9], "logprobs": true, "top_logprobs": 4, "stream": true,
        "stream_options": {"include_usage": true}, "user": "me", "metadata": {"a": "b"}, "tools": [{"type": "function"}],
        "tool_choice": "auto", "response_format": {"type": "text"}, "chat_template_kwargs": {"enable_thinking": false},
        "max_tokens": null, "unknown": null,
    }))
    .unwrap();
    let options = &request.options;
    assert_eq!((options.tokens, options.logprobs, options.stops.len()), (Some(5), Some(4), 2));
    assert_eq!((options.sampling.seed, options.stop_ids.as_slice()), (u64::MAX, &[9][..]));
    assert_eq!(options.sampling.logit_bias, [(5, -100.0), (6, 1.5)]);
    assert!(request.stream && request.include_usage && request.n == 2);
    let Input::Chat(chat) = request.input else { panic!("a chat") };
    assert_eq!((chat.tools.is_some(), chat.variables.len()), (true, 1));
}

#[test]
fn what_would_change_the_answer_is_refused_by_name() {
    for (more, param) in [
        (json!({ "response_format": {"type": "json_object"} }), "response_format"),
        (json!({ "tool_choice": "required" }), "tool_choice"),
        (json!({ "functions": [] }), "functions"),
        (json!({ "reasoning_effort": "low" }), "reasoning_effort"),
        (json!({ "mirostat": 2 }), "mirostat"),
        (json!({ "temperature": 3 }), "temperature"),
        (json!({ "temperature": "hot" }), "temperature"),
        (json!({ "top_p": 1.1 }), "top_p"),
        (json!({ "n": 0 }), "n"),
        (json!({ "n": 1.5 }), "n"),
        (json!({ "max_tokens": 0 }), "max_tokens"),
        (json!({ "max_tokens": 3, "max_completion_tokens": 4 }), "max_tokens"),
        (json!({ "top_logprobs": 2 }), "top_logprobs"),
        (json!({ "logprobs": true, "top_logprobs": 21 }), "top_logprobs"),
        (json!({ "logit_bias": {"a": 1} }), "logit_bias"),
        (json!({ "logit_bias": {"1": 101} }), "logit_bias"),
        (json!({ "stop": [""] }), "stop"),
        (json!({ "stop": vec!["x"; 17] }), "stop"),
        (json!({ "stream_options": {"include_usage": true} }), "stream_options"),
        (json!({ "stream": true, "stream_options": {"x": true} }), "stream_options.x"),
        (json!({ "messages": [] }), "messages"),
        (json!({ "messages": "hello" }), "messages"),
        (json!({ "messages": [{"role": "user"}] }), "messages[0].content"),
        (json!({ "messages": [{"content": "a"}] }), "messages[0].role"),
        (
            json!({ "messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}] }),
            "messages[0].content",
        ),
    ] {
        let error = chat(more.clone()).expect_err(&more.to_string());
        assert_eq!((error.status, &error.json()["error"]["param"]), (400, &json!(param)), "{more}");
        assert_eq!(error.json()["error"]["type"], "invalid_request_error");
        assert!(error.message.contains(param.split('[').next().unwrap_or(param)), "{}", error.message);
    }
    for (body, want) in [
        (&b"{\"model\": "[..], "not JSON: EOF"),
        (b"[1]", "a list"),
        (b"\xff", "not JSON"),
        (b"{}", "`model` is missing"),
        (b"{\"model\":\"m\"}", "`messages` is missing"),
    ] {
        let error = Request::read(Endpoint::Chat, body, 0).expect_err(want);
        assert!(error.status == 400 && error.message.contains(want), "{error:?}");
    }
}

#[test]
fn messages_are_what_templates_read() {
    let call = json!({ "function": {"name": "f", "arguments": "{\"x\": 1}"} });
    let request = chat(json!({ "messages": [
        {"role": "developer", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        {"role": "assistant", "content": null, "tool_calls": [call]},
    ] }));
    let Input::Chat(chat) = request.unwrap().input else { panic!("a chat") };
    assert_eq!(chat.messages[0], json!({ "role": "system", "content": "ab" }));
    assert_eq!(chat.messages[1]["tool_calls"][0]["function"]["arguments"], json!({ "x": 1 }));
}

#[test]
fn prompts_have_four_forms() {
    let prompts = |prompt: Value| match read(Endpoint::Text, json!({ "model": "m", "prompt": prompt }))?.input
    {
        Input::Prompts(prompts) => Ok::<_, ApiError>(prompts),
        Input::Chat(_) => panic!("prompts"),
    };
    let text = |text: &str| Prompt::Text(text.to_owned());
    assert_eq!(prompts(json!("a")).unwrap(), [text("a")]);
    assert_eq!(prompts(json!(["a", "b"])).unwrap(), [text("a"), text("b")]);
    assert_eq!(prompts(json!([1, 2])).unwrap(), [Prompt::Tokens(vec![1, 2])]);
    assert_eq!(prompts(json!([[1], [2, 3]])).unwrap(), [Prompt::Tokens(vec![1]), Prompt::Tokens(vec![2, 3])]);
    for wrong in [json!([]), json!([[]]), json!([-1]), json!(3), json!([4294967296u64])] {
        assert_eq!(prompts(wrong.clone()).expect_err(&wrong.to_string()).status, 400);
    }
}
