//! OpenAI's Responses API over the chat path.

use actix_web::test::TestRequest;
use serde_json::{Value, json};

use crate::world::World;

const PATH: &str = "/v1/responses";

fn ask(more: Value) -> Value {
    let mut body = json!({
        "model": "tiny", "input": "Hello there", "max_output_tokens": 8, "ignore_eos": true,
        "temperature": 0,
    });
    for (name, value) in more.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

fn tool() -> Value {
    json!({"type": "function", "name": "weather", "description": "How it is outside", "strict": true,
        "parameters": {"type": "object", "properties": {"city": {"enum": ["Oslo", "Bern"]}},
            "required": ["city"], "additionalProperties": false}})
}

/// Name and data of each event.
async fn events(world: &World, body: &Value) -> Vec<(String, Value)> {
    let reply = world.post(PATH, body).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert!(!reply.text.contains("[DONE]"));
    let lines = reply.text.split("\n\n").filter(|event| !event.is_empty());
    lines
        .enumerate()
        .map(|(at, event)| {
            let (name, data) = event.split_once("\ndata: ").unwrap();
            let name = name.strip_prefix("event: ").unwrap().to_owned();
            let data: Value = serde_json::from_str(data).unwrap();
            assert_eq!((&data["type"], &data["sequence_number"]), (&json!(name), &json!(at)));
            (name, data)
        })
        .collect()
}

#[actix_web::test]
async fn a_response_has_all_fields_and_is_the_chats_answer() {
    let world = World::new();
    let reply = world
        .post(
            PATH,
            &ask(json!({"instructions": "Be brief.", "metadata": {"a": "b"}, "user": "ann"})),
        )
        .await;
    assert_eq!(reply.header("x-hone-adapter"), "base");
    let body = reply.ok();
    let chat = json!({"model": "tiny", "max_tokens": 8, "ignore_eos": true, "temperature": 0, "messages":
        [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello there"}]});
    let chat = world.post("/v1/chat/completions", &chat).await.ok();
    let id = body["id"].as_str().unwrap();
    let uuid = id.strip_prefix("resp_").unwrap();
    let item = &body["output"][0]["id"];
    assert!(item.as_str().unwrap().starts_with("msg_"), "{item}");
    let prompt = chat["usage"]["prompt_tokens"].as_u64().unwrap();
    let expected = json!({
        "id": id, "object": "response", "created_at": body["created_at"], "status": "incomplete",
        "background": false, "error": null, "incomplete_details": {"reason": "max_output_tokens"},
        "instructions": "Be brief.", "max_output_tokens": 8, "model": "tiny",
        "output": [{"type": "message", "id": item, "status": "incomplete", "role": "assistant", "content":
            [{"type": "output_text", "text": chat["choices"][0]["message"]["content"], "annotations": [], "logprobs": []}]}],
        "parallel_tool_calls": true, "previous_response_id": null, "reasoning": null, "store": true,
        "temperature": 0.0, "text": {"format": {"type": "text"}}, "tool_choice": "auto", "tools": [],
        "top_p": 1.0, "truncation": "disabled", "metadata": {"a": "b"},
        "usage": {"input_tokens": prompt, "input_tokens_details": {"cached_tokens": 0}, "output_tokens": 8,
            "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": prompt + 8},
    });
    assert_eq!(body, expected);

    let again = world.get(&format!("{PATH}/{id}")).await.ok();
    assert_eq!(again, expected, "what is stored");
    let kept = world.get(&format!("/v1/interactions/chatcmpl-{uuid}")).await.ok();
    assert_eq!(kept["messages"].as_array().unwrap().len(), 2);
    let replay = world.post(&format!("/v1/interactions/{id}/replay"), &json!({})).await.ok();
    assert_eq!(replay["same"], true);
    let said = json!({"inference_id": id, "metric_name": "thumbs", "value": true});
    assert_eq!(world.post("/v1/feedback", &said).await.status, 201);
    let listed = world.get("/v1/chat/completions").await.ok();
    assert_eq!(listed["data"], json!([]), "a response is no stored chat completion");
    world.get(&format!("/v1/chat/completions/chatcmpl-{uuid}")).await.error(404);

    let gone = world.delete(&format!("{PATH}/{id}")).await.ok();
    assert_eq!(gone, json!({"id": id, "object": "response", "deleted": true}));
    world.get(&format!("{PATH}/{id}")).await.error(404);
}

#[actix_web::test]
async fn events_come_in_their_order_and_add_up() {
    let world = World::new();
    let body = ask(json!({"stream": true}));
    let events = events(&world, &body).await;
    let names: Vec<_> = events.iter().map(|(name, _)| name.as_str()).collect();
    let deltas = names.iter().filter(|name| **name == "response.output_text.delta").count();
    assert!(deltas > 1, "{names:?}");
    let mut expected = vec![
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
    ];
    expected.extend(vec!["response.output_text.delta"; deltas]);
    expected.extend([
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.incomplete",
    ]);
    assert_eq!(names, expected);
    let text: String = events.iter().filter_map(|(_, data)| data["delta"].as_str()).collect();
    let (first, last) = (&events[0].1["response"], &events.last().unwrap().1["response"]);
    assert_eq!((&first["status"], &first["output"]), (&json!("in_progress"), &json!([])));
    assert_eq!(last["output"][0]["content"][0]["text"], text);
    assert_eq!(events[2].1["item"]["content"], json!([]));
    let of = |name: &str| &events.iter().find(|(event, _)| event == name).unwrap().1;
    assert_eq!(of("response.output_text.done")["text"], text);
    assert_eq!(of("response.output_item.done")["item"], last["output"][0]);
    let mut whole = world.post(PATH, &ask(json!({}))).await.ok();
    assert_eq!(whole["output"][0]["content"][0]["text"], text);
    let kept = world.get(&format!("{PATH}/{}", whole["id"].as_str().unwrap())).await.ok();
    assert_eq!(kept, whole);
    // The second one finds what the first has computed of the prompt.
    let cached = whole["usage"]["input_tokens_details"]["cached_tokens"].take();
    assert!(cached.as_u64().unwrap() > 0, "{cached}");
    whole["usage"]["input_tokens_details"]["cached_tokens"] = json!(0);
    assert_eq!(whole["usage"], last["usage"]);
    let id = last["id"].as_str().unwrap();
    assert_eq!(world.get(&format!("{PATH}/{id}")).await.ok(), *last);
}

#[actix_web::test]
async fn calls_are_items_and_their_results_go_on() {
    let world = World::new();
    let forced = json!({"tools": [tool()], "tool_choice": "required", "parallel_tool_calls": false,
        "ignore_eos": false, "max_output_tokens": 60, "temperature": 1, "seed": 3});
    let answer = world.post(PATH, &ask(forced.clone())).await.ok();
    assert_eq!(answer["status"], "completed", "{answer}");
    let call = &answer["output"][0];
    assert_eq!(
        (&call["type"], &call["name"], &call["status"]),
        (&json!("function_call"), &json!("weather"), &json!("completed"))
    );
    let arguments: Value = serde_json::from_str(call["arguments"].as_str().unwrap()).unwrap();
    assert!(arguments["city"] == "Oslo" || arguments["city"] == "Bern");
    assert_eq!((&answer["tools"], &answer["tool_choice"]), (&json!([tool()]), &json!("required")));
    let id = answer["id"].as_str().unwrap();
    assert_eq!(world.get(&format!("{PATH}/{id}")).await.ok(), answer);

    let mut streamed = forced;
    streamed["stream"] = json!(true);
    let events = events(&world, &ask(streamed)).await;
    let names: Vec<_> = events.iter().map(|(name, _)| name.as_str()).collect();
    let at = |name: &str| names.iter().position(|event| *event == name).unwrap();
    assert!(at("response.output_item.added") < at("response.function_call_arguments.delta"));
    assert!(
        at("response.function_call_arguments.delta") < at("response.function_call_arguments.done")
    );
    assert!(at("response.function_call_arguments.done") < at("response.output_item.done"));
    assert_eq!(names.last(), Some(&"response.completed"));
    assert!(!names.contains(&"response.output_text.delta"), "{names:?}");
    let whole: String = events.iter().filter_map(|(_, data)| data["delta"].as_str()).collect();
    assert_eq!(events[at("response.function_call_arguments.done")].1["arguments"], whole);
    assert_eq!(events[at("response.output_item.added")].1["item"]["arguments"], "");
    assert_eq!(call["arguments"], whole, "the same seed");

    let result = json!([{"type": "function_call_output", "call_id": call["call_id"], "output": "3 degrees"}]);
    let next = ask(
        json!({"input": result, "previous_response_id": id, "tools": [tool()], "tool_choice": "none"}),
    );
    let next = world.post(PATH, &next).await.ok();
    assert_eq!((&next["previous_response_id"], &next["tool_choice"]), (&json!(id), &json!("none")));
    assert_eq!(next["tools"], json!([tool()]));
    let uuid = next["id"].as_str().unwrap();
    let kept = world.get(&format!("/v1/interactions/{uuid}")).await.ok();
    let turns = kept["messages"].as_array().unwrap();
    let roles: Vec<_> = turns.iter().map(|turn| turn["role"].as_str().unwrap()).collect();
    assert_eq!(roles, ["user", "assistant", "tool"]);
    assert_eq!(turns[1]["tool_calls"][0]["id"], call["call_id"]);
    assert_eq!(turns[2]["tool_call_id"], call["call_id"]);
    assert_eq!(world.get(&format!("{PATH}/{uuid}")).await.ok(), next);

    let items = world.get(&format!("{PATH}/{uuid}/input_items?order=asc")).await.ok();
    let told = items["data"].as_array().unwrap();
    let expected = json!([
        {"type": "message", "id": told[0]["id"], "status": "completed", "role": "user",
            "content": [{"type": "input_text", "text": "Hello there"}]},
        {"type": "function_call", "id": told[1]["id"], "status": "completed", "call_id": call["call_id"],
            "name": "weather", "arguments": whole},
        {"type": "function_call_output", "id": told[2]["id"], "status": "completed",
            "call_id": call["call_id"], "output": "3 degrees"},
    ]);
    assert_eq!(items["data"], expected);
}

#[actix_web::test]
async fn what_was_asked_is_listed_in_pages() {
    let world = World::new();
    let turns = json!([{"role": "user", "content": "One"}, {"role": "assistant", "content": "Two"},
        {"role": "developer", "content": "Three"}, {"role": "user", "content": "Four"}]);
    let more = json!({"input": turns, "instructions": "Be brief."});
    let answer = world.post(PATH, &ask(more)).await.ok();
    let id = answer["id"].as_str().unwrap();
    let list = async |query: &str| world.get(&format!("{PATH}/{id}/input_items{query}")).await;
    let texts = |list: &Value| -> Vec<String> {
        let data = list["data"].as_array().unwrap().iter();
        data.map(|item| item["content"][0]["text"].as_str().unwrap().to_owned()).collect()
    };
    let all = list("").await.ok();
    assert_eq!(texts(&all), ["Four", "Three", "Two", "One"], "without the instructions");
    assert_eq!((&all["object"], &all["has_more"]), (&json!("list"), &json!(false)));
    let kinds: Vec<_> = (0..4).map(|at| all["data"][at]["content"][0]["type"].clone()).collect();
    assert_eq!(kinds, ["input_text", "input_text", "output_text", "input_text"]);
    assert_eq!(all["data"][1]["role"], "system");

    let first = list("?limit=3&order=asc").await.ok();
    assert_eq!((texts(&first).len(), &first["has_more"]), (3, &json!(true)));
    let after = first["last_id"].as_str().unwrap();
    let rest = list(&format!("?limit=3&order=asc&after={after}")).await.ok();
    assert_eq!((texts(&rest), &rest["has_more"]), (vec!["Four".to_owned()], &json!(false)));
    assert_eq!(list("?after=msg_0").await.error(400)["param"], "after");
    assert_eq!(list("?order=up").await.error(400)["param"], "order");
    let included = list("?include[]=message.input_image.image_url").await;
    assert!(included.header("x-hone-ignored").contains("include"), "{}", included.text);

    let unstored = world.post(PATH, &ask(json!({"store": false}))).await.ok();
    let id = unstored["id"].as_str().unwrap();
    world.get(&format!("{PATH}/{id}/input_items")).await.error(404);
}

#[actix_web::test]
async fn one_goes_on_from_another_without_its_instructions() {
    let world = World::new();
    let first = world.post(PATH, &ask(json!({"instructions": "Be brief."}))).await.ok();
    let text = &first["output"][0]["content"][0]["text"];
    let more = json!({"previous_response_id": first["id"], "input": "And now?", "instructions": "Be long."});
    let second = world.post(PATH, &ask(more)).await.ok();
    let third = world
        .post(PATH, &ask(json!({"previous_response_id": second["id"], "input": "So?"})))
        .await
        .ok();
    let kept = world.get(&format!("/v1/interactions/{}", third["id"].as_str().unwrap())).await.ok();
    let turns = kept["messages"].as_array().unwrap();
    let said: Vec<_> = turns.iter().map(|turn| &turn["content"]).collect();
    let second_text = &second["output"][0]["content"][0]["text"];
    assert_eq!(said, [&json!("Hello there"), text, &json!("And now?"), second_text, &json!("So?")]);

    let private = world.post(PATH, &ask(json!({"store": false}))).await.ok();
    assert_eq!(private["store"], false);
    let chat = json!({"model": "tiny", "max_tokens": 3, "store": true, "messages": [{"role": "user", "content": "x"}]});
    let chat = world.post("/v1/chat/completions", &chat).await.ok();
    for id in [&private["id"], &chat["id"], &json!("resp_0198c0de-0000-7000-8000-000000000000")] {
        let error = world.post(PATH, &ask(json!({"previous_response_id": id}))).await.error(404);
        assert_eq!(error["param"], "previous_response_id");
        world.get(&format!("{PATH}/{}", id.as_str().unwrap())).await.error(404);
    }
}

#[actix_web::test]
async fn a_response_is_for_the_key_that_asked_for_it() {
    let world = World::new();
    let make = async |by: &str, scopes: &[&str]| {
        let body = json!({"name": "app", "scopes": scopes});
        let request = TestRequest::post().uri("/v1/keys").set_json(&body);
        let request = request.insert_header(("authorization", format!("Bearer {by}")));
        world.send(request).await.ok()["key"].as_str().unwrap().to_owned()
    };
    let admin = make("", &["admin"]).await;
    let (one, other) = (make(&admin, &["chat"]).await, make(&admin, &["chat"]).await);
    let exporter = make(&admin, &["chat", "export"]).await;
    let send = async |key: &str, request: TestRequest| {
        world.send(request.insert_header(("authorization", format!("Bearer {key}")))).await
    };
    let post = |body: Value| TestRequest::post().uri(PATH).set_json(body);
    let id = send(&one, post(ask(json!({})))).await.ok()["id"].clone();
    let path = format!("{PATH}/{}", id.as_str().unwrap());
    let more = ask(json!({"previous_response_id": id}));
    send(&one, TestRequest::with_uri(&path)).await.ok();
    send(&one, post(more.clone())).await.ok();
    send(&other, TestRequest::with_uri(&path)).await.error(404);
    send(&other, post(more.clone())).await.error(404);
    send(&exporter, TestRequest::with_uri(&path)).await.ok();
    send(&exporter, post(more)).await.error(404);
}

#[actix_web::test]
async fn forms_hold_and_faults_are_told_in_the_clients_words() {
    let world = World::new();
    let format = json!({"type": "json_schema", "name": "s", "strict": true, "schema":
        {"type": "object", "properties": {"cold": {"type": "boolean"}}, "required": ["cold"]}});
    let body = ask(json!({"text": {"format": format, "verbosity": "low"}, "ignore_eos": false,
        "max_output_tokens": 60, "temperature": 1, "reasoning": {"effort": "low"}}));
    let reply = world.post(PATH, &body).await;
    let ignored = reply.header("x-hone-ignored").to_owned();
    assert!(ignored.contains("reasoning") && ignored.contains("text.verbosity"), "{ignored}");
    let answer = reply.ok();
    let text = answer["output"][0]["content"][0]["text"].as_str().unwrap();
    let value: Value = serde_json::from_str(text).unwrap();
    assert!(value["cold"].is_boolean(), "{text}");
    assert_eq!(answer["text"]["format"], format);

    let refused = async |more: Value, status: u16, param: &str| {
        let error = world.post(PATH, &ask(more)).await.error(status);
        assert_eq!(error["param"], param, "{error}");
        error["message"].as_str().unwrap().to_owned()
    };
    let not = json!({"type": "json_schema", "name": "s", "schema": {"not": {}}});
    let message = refused(json!({"text": {"format": not}}), 400, "text.format.schema").await;
    assert!(message.contains("`text.format.schema`"), "{message}");
    refused(json!({"input": "word ".repeat(900)}), 400, "input").await;
    let message = refused(json!({"max_output_tokens": 600}), 400, "max_output_tokens").await;
    assert!(message.contains("`max_output_tokens`"), "{message}");
    let mut strict = tool();
    strict["parameters"]["not"] = json!({});
    let message = refused(json!({"tools": [strict]}), 400, "tools[0].parameters").await;
    assert!(message.contains("`tools[0].parameters`"), "{message}");
    refused(json!({"model": "nobody"}), 404, "model").await;
    refused(json!({"background": true}), 400, "background").await;
    refused(json!({"input": [{"type": "input_image"}]}), 400, "input[0].type").await;
}
