//! `hone chat`: talk to the model in the terminal, and say what was wrong.

use std::collections::BTreeMap;
use std::io::{BufRead, IsTerminal};

use hone_api::chat::{Message, Role};
use hone_api::feedback::Signal;
use rustyline::error::ReadlineError;

use super::{feedback, why};
use crate::cli::{ChatArgs, WhyArgs};
use crate::client::{ChatAnswer, ChatCall, Client, ClientError, path};
use crate::context::{CommandResult, Context, Failure};

const HELP: &str = "/good  /bad  /fix TEXT  /adapter NAME  /why  /new  /quit";

/// One conversation.
struct Chat<'a> {
    context: &'a Context,
    client: Client,
    args: &'a ChatArgs,
    model: String,
    messages: Vec<Message>,
    last: Option<ChatAnswer>,
    /// Whether the last line could not be done.
    failed: bool,
}

/// Talks until the input ends.
///
/// # Errors
/// The daemon or the adapter is not there. What the daemon says of a single line is told and the talk
/// goes on; from a pipe it is a failure if it was the last one.
pub async fn run(context: &Context, args: &ChatArgs) -> CommandResult {
    let client = context.client()?;
    let _: serde_json::Value = client.get("/v1/models").await?;
    let mut chat = Chat {
        context,
        client,
        args,
        model: String::new(),
        messages: Vec::new(),
        last: None,
        failed: false,
    };
    chat.choose(args.adapter.as_deref()).await?;
    chat.restart();
    if !std::io::stdin().is_terminal() {
        for line in std::io::stdin().lock().lines() {
            if !chat.line(line?.trim()).await? {
                break;
            }
        }
        return if chat.failed { Err(Failure::Told) } else { Ok(()) };
    }
    context.output.say(format_args!("{}  {HELP}", chat.client.url()));
    let mut editor = rustyline::DefaultEditor::new()?;
    loop {
        match editor.readline("> ") {
            Ok(line) => {
                let _ = editor.add_history_entry(&line);
                if !chat.line(line.trim()).await? {
                    return Ok(());
                }
            }
            Err(ReadlineError::Interrupted | ReadlineError::Eof) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

impl Chat<'_> {
    /// One line of input; `false` ends the talk.
    async fn line(&mut self, line: &str) -> Result<bool, Failure> {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let done = match word {
            "" => Ok(()),
            "/quit" | "/exit" => return Ok(false),
            "/good" => self.tell(Signal::Thumbs(true)).await,
            "/bad" => self.tell(Signal::Thumbs(false)).await,
            "/fix" if rest.trim().is_empty() => {
                self.context
                    .output
                    .say("/fix TEXT, where TEXT is the answer as it should have been");
                Ok(())
            }
            "/fix" => self.fix(rest.trim()).await,
            "/adapter" => {
                let chosen = self.choose(Some(rest.trim()).filter(|name| !name.is_empty())).await;
                if chosen.is_ok() {
                    self.context.output.say(format_args!("{} answers from now on", self.model));
                }
                chosen
            }
            "/new" => {
                self.restart();
                Ok(())
            }
            "/why" => self.why().await,
            _ if word.starts_with('/') => {
                self.context.output.say(HELP);
                Ok(())
            }
            _ => self.ask(line).await?,
        };
        if !word.is_empty() {
            self.failed = done.is_err();
        }
        if let Err(error) = done {
            self.context.output.say(format_args!("hone: {error}"));
            if matches!(error, ClientError::Unreachable { .. }) {
                return Err(Failure::Told);
            }
        }
        Ok(true)
    }

    async fn ask(&mut self, text: &str) -> std::io::Result<Result<(), ClientError>> {
        self.messages.push(Message::new(Role::User, text));
        let call = ChatCall {
            model: &self.model,
            messages: &self.messages,
            max_tokens: self.args.max_tokens,
            temperature: self.args.temperature,
            metadata: BTreeMap::new(),
            store: None,
        };
        let output = self.context.output;
        let mut written = Ok(());
        let answer = self
            .client
            .chat_stream(&call, |part| {
                if !output.is_json() && written.is_ok() {
                    written = output.part(part);
                }
            })
            .await;
        written?;
        match answer {
            Ok(answer) => {
                output.line("")?;
                if output.is_json() {
                    output.value(&serde_json::json!({
                        "id": answer.id, "adapter": answer.adapter, "content": answer.text,
                    }))?;
                }
                self.messages.push(Message::new(Role::Assistant, &answer.text));
                self.last = Some(answer);
                Ok(Ok(()))
            }
            Err(error) => {
                self.messages.pop();
                Ok(Err(error))
            }
        }
    }

    async fn tell(&self, signal: Signal) -> Result<(), ClientError> {
        let Some(last) = &self.last else {
            self.context.output.say("there is no answer yet to say that of");
            return Ok(());
        };
        let taken = feedback::send(&self.client, &last.id, &signal, &BTreeMap::new()).await?;
        taken.say(self.context.output);
        Ok(())
    }

    /// A correction also corrects this conversation.
    async fn fix(&mut self, text: &str) -> Result<(), ClientError> {
        self.tell(Signal::Demonstration(text.to_owned())).await?;
        if let Some(turn) = self.messages.last_mut().filter(|turn| turn.role == Role::Assistant) {
            text.clone_into(&mut turn.content);
        }
        Ok(())
    }

    async fn why(&self) -> Result<(), ClientError> {
        let adapter = self.last.as_ref().map_or("live", |last| &last.adapter).to_owned();
        let told = why::run(self.context, &WhyArgs { adapter }).await;
        if let Err(Failure::Failed(error)) = told {
            self.context
                .output
                .say(format_args!("hone: {}", hone_daemon::error_chain::describe(&error)));
        }
        Ok(())
    }

    /// Who answers from now on. An adapter that is not there changes nothing.
    async fn choose(&mut self, adapter: Option<&str>) -> Result<(), ClientError> {
        // These may mean the base, which is no adapter that could be looked at.
        if let Some(name) = adapter.filter(|name| !matches!(*name, "base" | "live" | "previous")) {
            let _: serde_json::Value = self.client.get(&path::adapter(name)?).await?;
        }
        self.model = adapter.map_or_else(|| "hone".to_owned(), |name| format!("hone:{name}"));
        Ok(())
    }

    fn restart(&mut self) {
        self.last = None;
        self.messages.clear();
        if let Some(system) = &self.args.system {
            self.messages.push(Message::new(Role::System, system));
        }
    }
}
