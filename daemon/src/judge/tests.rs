//! Against a server that says what it is told to.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::thread::JoinHandle;

use hone_api::chat::Role;
use hone_eval::Preference;

use super::*;

/// Answers one request after the other, each on a connection of its own, then stops listening.
struct Server {
    url: String,
    /// The requests, as text.
    asked: JoinHandle<Vec<String>>,
}

impl Server {
    /// `(status, body)` for each request.
    fn says(replies: Vec<(u16, String)>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/v1", listener.local_addr().unwrap());
        let asked = std::thread::spawn(move || {
            let reply = |(status, body)| serve(&listener.accept().unwrap().0, status, body);
            replies.into_iter().map(reply).collect()
        });
        Self { url, asked }
    }

    fn asked(self) -> Vec<String> {
        self.asked.join().unwrap()
    }

    fn judge(&self) -> Judge {
        Judge::new(Box::new(voice(&self.url)), "m", "Be right.")
    }
}

fn serve(stream: &TcpStream, status: u16, body: String) -> String {
    let mut reader = BufReader::new(stream);
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let from = head.len();
        reader.read_line(&mut head).unwrap();
        let line = head[from..].trim().to_ascii_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if line.is_empty() {
            break;
        }
    }
    let mut asked = vec![0; length];
    reader.read_exact(&mut asked).unwrap();
    let mut stream = stream;
    write!(
        stream,
        "HTTP/1.1 {status} X\r\nconnection: close\r\nretry-after: 0\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    head + &String::from_utf8(asked).unwrap()
}

/// In no hurry, but for the test's.
fn voice(url: &str) -> HttpVoice {
    let patience =
        Patience { tries: 3, pause: Duration::from_millis(1), answer: Duration::from_secs(5) };
    let key = as_bearer("k-1\n".to_owned());
    HttpVoice { patience, ..HttpVoice::new(url, "m", key).unwrap() }
}

fn says(content: &str) -> (u16, String) {
    (200, serde_json::json!({ "choices": [{ "message": { "content": content } }] }).to_string())
}

fn question() -> Vec<Message> {
    vec![Message::new(Role::User, "37 + 58?")]
}

#[tokio::test]
async fn a_judge_is_asked_as_openai_is() {
    let server = Server::says(vec![says("The first.\nA")]);
    assert_eq!(voice(&server.url).answer(&question()).await.unwrap(), "The first.\nA");
    let asked = server.asked().remove(0);
    assert!(asked.starts_with("POST /v1/chat/completions HTTP/1.1\r\n"), "{asked}");
    let lower = asked.to_ascii_lowercase();
    assert!(lower.contains("authorization: bearer k-1\r\n"), "{asked}");
    assert!(lower.contains("x-hone-no-train: 1\r\n"), "{asked}");
    let (_, body) = asked.split_once("\r\n\r\n").unwrap();
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!((body["model"].as_str(), body["temperature"].as_f64()), (Some("m"), Some(0.0)));
    assert_eq!(body["messages"][0]["content"], "37 + 58?");
}

#[tokio::test]
async fn both_orders_are_asked() {
    // the same letter to both orders is a habit, not a preference
    let server = Server::says(vec![says("A"), says("A")]);
    let compared = server.judge().compare(&question(), "96", "95", None).await;
    assert_eq!(compared, Ok(Preference::Tie));
    let asked = server.asked();
    let first = |answer: &str| format!(r#"\"A\": \"{answer}\""#);
    let with = |answer: &str| asked.iter().filter(|text| text.contains(&first(answer))).count();
    assert_eq!((with("95"), with("96")), (1, 1), "{asked:?}");
}

#[tokio::test]
async fn a_judge_that_is_busy_is_asked_again() {
    let busy = || (503, "{}".to_owned());
    let server = Server::says(vec![busy(), (429, String::new()), says("B")]);
    assert_eq!(voice(&server.url).answer(&question()).await.unwrap(), "B");
    assert_eq!(server.asked().len(), 3);
    let server = Server::says(vec![busy(), busy(), busy()]);
    let error = voice(&server.url).answer(&question()).await.unwrap_err();
    assert!(error.is_temporary() && error.to_string().contains("503"), "{error}");
    assert_eq!(server.asked().len(), 3);
}

#[tokio::test]
async fn nobody_there_is_told_apart_from_a_refusal() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = voice(&format!("http://{free}/v1/")).answer(&question()).await.unwrap_err();
    assert!(matches!(error, JudgeError::Unreachable { .. }), "{error}");

    let body = r#"{"error":{"message":"No such model.","type":"t","param":null,"code":null}}"#;
    let server = Server::says(vec![(404, body.to_owned())]);
    let error = voice(&server.url).answer(&question()).await.unwrap_err();
    assert!(!error.is_temporary() && error.to_string().contains("No such model."), "{error}");
    assert_eq!(server.asked().len(), 1, "not asked again");
}

#[tokio::test]
async fn a_silent_judge_is_not_waited_for_for_ever() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut voice = voice(&format!("http://{}/v1", listener.local_addr().unwrap()));
    voice.patience.answer = Duration::from_millis(30);
    let error = voice.answer(&question()).await.unwrap_err();
    assert!(error.is_temporary(), "{error}");
}

#[tokio::test]
async fn another_server_is_no_judge() {
    for body in ["<html>", "{}", r#"{"choices":[]}"#] {
        let server = Server::says(vec![(200, body.to_owned())]);
        let error = voice(&server.url).answer(&question()).await.unwrap_err();
        assert!(matches!(error, JudgeError::Foreign { .. }), "{body}: {error}");
        server.asked();
    }
    // nor is where it points to
    let server = Server::says(vec![(302, "over there".to_owned())]);
    let error = voice(&server.url).answer(&question()).await.unwrap_err();
    assert!(matches!(error, JudgeError::Refused { status: 302, .. }), "{error}");
}

#[test]
fn the_settings_name_the_judge() {
    let mut evaluation = hone_config::Config::defaults(Path::new("d")).unwrap().evaluation;
    assert!(configured(&evaluation).unwrap().is_none());
    evaluation.judge = "http://127.0.0.1:8000/v1".to_owned();
    evaluation.judge_model = "m".to_owned();
    let judge = configured(&evaluation).unwrap().unwrap();
    evaluation.judge_rubric = "Be kind.".to_owned();
    assert_ne!(configured(&evaluation).unwrap().unwrap().digest(), judge.digest());
    evaluation.judge_api_key_env = "NO_VARIABLE_OF_THIS_NAME".to_owned();
    let error = configured(&evaluation).unwrap_err().to_string();
    assert!(error.contains("NO_VARIABLE_OF_THIS_NAME"), "{error}");
}

#[test]
fn a_key_is_one_word_in_a_header() {
    assert!(as_bearer(" ".to_owned()).is_none());
    assert!(as_bearer("a\nb".to_owned()).is_none());
    let key = as_bearer("k-1".to_owned()).unwrap();
    assert!(!format!("{key:?}").contains("k-1"));
}
