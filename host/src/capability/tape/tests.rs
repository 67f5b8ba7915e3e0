use super::*;

fn asked(url: &str) -> HttpAsked {
    HttpAsked {
        method: "GET".to_owned(),
        url: url.to_owned(),
        body: Content::default(),
    }
}

fn world(text: &str) -> World {
    serde_json::from_str(text).unwrap()
}

#[test]
fn answers_come_in_their_order_and_the_last_one_stays() {
    let tape = Tape::playing(world(
        r#"{ "http": [
            { "asked": { "method": "GET", "url": "https://a/" }, "answer": { "status": 202 } },
            { "asked": { "method": "GET", "url": "https://b/" }, "error": "timed-out" },
            { "asked": { "method": "GET", "url": "https://a/" }, "answer": { "status": 200, "body": "done" } }
        ] }"#,
    ));
    let status = |url| match tape.play::<Http>(&asked(url)).unwrap() {
        Some(Answer::Answer(answer)) => Ok(answer.status),
        Some(Answer::Error(error)) => Err(error),
        None => panic!("the tape is off"),
    };
    assert_eq!(status("https://a/"), Ok(202));
    assert_eq!(status("https://a/"), Ok(200));
    assert_eq!(status("https://a/"), Ok(200));
    assert_eq!(status("https://b/"), Err(HttpFailure::TimedOut));
    let error = tape.play::<Http>(&asked("https://c/")).unwrap_err().to_string();
    assert!(
        error.contains(r#"HTTP request: {"method":"GET","url":"https://c/"}"#),
        "{error}"
    );
    assert!(error.contains("--record"), "{error}");
}

#[test]
fn what_is_recorded_can_be_played() {
    let tape = Tape::recording();
    assert_eq!(tape.play::<Http>(&asked("https://a/")).unwrap(), None);
    let body = Content(vec![0, 255]);
    tape.record::<Http>(|| Exchange {
        asked: asked("https://a/"),
        answer: Answer::Answer(HttpAnswer {
            status: 200,
            headers: vec![("etag".to_owned(), "x".to_owned())],
            body: body.clone(),
        }),
    });
    let text = serde_json::to_string(&tape.recorded().unwrap()).unwrap();
    assert!(text.contains("\"body\":\"base64:AP8=\""), "{text}");
    let again = Tape::playing(world(&text));
    match again.play::<Http>(&asked("https://a/")).unwrap() {
        Some(Answer::Answer(answer)) => assert_eq!(answer.body, body),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_text_that_looks_like_base64_stays_what_it_is() {
    let content = Content(b"base64:AP8=".to_vec());
    let text = String::from(content.clone());
    assert_eq!(Content::try_from(text).unwrap(), content);
    assert!(Content::try_from("base64:*".to_owned()).is_err());
}

#[test]
fn mistakes_in_a_world_are_named() {
    let error = serde_json::from_str::<World>(r#"{ "https": [] }"#)
        .unwrap_err()
        .to_string();
    assert!(error.contains("unknown field `https`"), "{error}");
}
