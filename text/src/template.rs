//! Conversations to prompts, with the model's own chat template.
//!
//! One renderer for serving and for training: a template that differs by one newline between the
//! two costs most of what training gained. Templates come with the model and are run with limits:
//! fuel, nesting, all that is made on the way ([`allowance`]) and size of the output.

mod allowance;
mod bounded;
mod capped;
mod checked;
mod generation;
mod info;
mod priced;
mod python;
mod talk;
mod tools;

use hone_api::chat::{Message, Role};
use minijinja::{Environment, ErrorKind, Value};
use serde_json::json;

use self::capped::{Capped, MAX_OUTPUT};
pub use self::info::TokenizerInfo;
pub use self::talk::Talk;
use self::talk::{Ids, by_prompt, native};
use self::tools::Family;
pub use self::tools::ToolFormat;
use crate::{Effort, Error, Tokenizer};

/// Instructions of the template machine for one rendering, the checks among them; about a thousand turns' worth.
const FUEL: u64 = 10_000_000;
/// Nested calls of macros and includes.
const RECURSION: usize = 64;

/// What a model without a chat template says to who wants to chat.
const NO_TEMPLATE: &str = "this model has no chat template, so that it can only continue texts: ask /v1/completions, serve an \
                           instruction-tuned model, or name a Jinja file in `model.chat_template`";

/// A chat template, compiled; or that the model has none, and cannot chat.
pub struct ChatTemplate {
    environment: Option<Environment<'static>>,
    /// The one for conversations with tools, if the model has two.
    with_tools: Option<Environment<'static>>,
    family: Family,
    /// Whether it takes a system's turn.
    has_system: bool,
    digest: String,
    tokens: serde_json::Map<String, serde_json::Value>,
    info: TokenizerInfo,
}

impl ChatTemplate {
    /// Reads the content of a `tokenizer_config.json`: `chat_template` (a string, or those named `default` and
    /// `tool_use` of a list) and the special tokens that templates refer to.
    ///
    /// Without a template all that is rendered is refused.
    ///
    /// # Errors
    /// [`Error::Template`] if it does not compile.
    pub fn from_config(tokenizer_config: &[u8]) -> Result<Self, Error> {
        let config: serde_json::Value =
            serde_json::from_slice(tokenizer_config).map_err(|error| {
                Error::Template(format!("tokenizer_config.json does not parse: {error}"))
            })?;
        let mut with_tools = None;
        let source = match &config["chat_template"] {
            serde_json::Value::String(source) => Some(source.as_str()),
            serde_json::Value::Array(named) => {
                let find = |name: &str| {
                    let found = named.iter().find(|entry| entry["name"] == name);
                    found.and_then(|entry| entry["template"].as_str())
                };
                with_tools = find("tool_use");
                Some(find("default").ok_or_else(|| {
                    Error::Template("chat_template is a list without a `default`".to_owned())
                })?)
            }
            _ => None,
        };
        let mut tokens = serde_json::Map::new();
        for name in ["bos_token", "eos_token", "pad_token", "unk_token"] {
            let value = &config[name];
            if let Some(text) = value.as_str().or_else(|| value["content"].as_str()) {
                tokens.insert(name.to_owned(), json!(text));
            }
        }
        let info = TokenizerInfo::new(&config, source);
        Ok(Self { info, ..Self::new(source, with_tools, tokens)? })
    }

    /// The tokenizer as its own files describe it.
    #[must_use]
    pub fn tokenizer_info(&self) -> &TokenizerInfo {
        &self.info
    }

    fn new(
        source: Option<&str>,
        with_tools: Option<&str>,
        tokens: serde_json::Map<String, serde_json::Value>,
    ) -> Result<Self, Error> {
        let mut hasher = blake3::Hasher::new();
        hasher.update(source.unwrap_or_default().as_bytes());
        if let Some(with_tools) = with_tools {
            hasher.update(format!("\0tool_use={with_tools}").as_bytes());
        }
        for (name, token) in &tokens {
            hasher.update(format!("\0{name}={token}").as_bytes());
        }
        let words = with_tools.or(source).unwrap_or_default();
        Ok(Self {
            environment: source.map(environment).transpose()?,
            with_tools: with_tools.map(environment).transpose()?,
            family: Family::of(words),
            has_system: !words.contains("System role not supported"),
            digest: hasher.finalize().to_hex().to_string(),
            tokens,
            info: TokenizerInfo::default(),
        })
    }

    /// How the model writes that it wants a tool to be called.
    #[must_use]
    pub fn tool_format(&self) -> ToolFormat {
        self.family.format
    }

    /// Whether the model has a template, so that it can chat.
    #[must_use]
    pub fn is_there(&self) -> bool {
        self.environment.is_some()
    }

    /// Identifies the template with its special tokens, hex.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// The prompt's text. `add_generation_prompt` ends it with the words that open an assistant's
    /// turn.
    ///
    /// # Errors
    /// [`Error::Template`]: the template refused the conversation (its words are in the message),
    /// or ran into a limit.
    pub fn render<'a>(
        &self,
        talk: impl Into<Talk<'a>>,
        add_generation_prompt: bool,
    ) -> Result<String, Error> {
        self.render_within(talk.into(), add_generation_prompt, &Effort::unbounded())
    }

    fn render_within(
        &self,
        talk: Talk<'_>,
        add_generation_prompt: bool,
        effort: &Effort,
    ) -> Result<String, Error> {
        let ids = match self.family.format {
            ToolFormat::Mistral | ToolFormat::MistralArgs => Ids::Nine,
            ToolFormat::Hermes | ToolFormat::Llama => Ids::Any,
        };
        let messages = match self.family.native || !talk.has_tools() {
            true => native(talk.messages, ids),
            false => by_prompt(talk, self.has_system),
        };
        let tools = match self.family.native && !talk.tools.is_empty() {
            true => json!(talk.tools),
            false => serde_json::Value::Null,
        };
        let mut context = self.tokens.clone();
        context.insert("messages".to_owned(), json!(messages));
        context.insert("add_generation_prompt".to_owned(), json!(add_generation_prompt));
        context.insert("tools".to_owned(), tools);
        context.insert("documents".to_owned(), serde_json::Value::Null);
        let mut output = Capped::default();
        let with_tools = self.with_tools.as_ref().filter(|_| talk.has_tools());
        let environment = with_tools
            .or(self.environment.as_ref())
            .ok_or_else(|| Error::Template(NO_TEMPLATE.to_owned()))?;
        let template = environment.get_template("chat").map_err(to_error)?;
        let render = || template.render_captured_to(&context, &mut output).map(drop);
        let rendered = allowance::within(effort, render, to_error);
        if output.over {
            return Err(Error::Template(format!(
                "the prompt is longer than {MAX_OUTPUT} bytes; send less text"
            )));
        }
        rendered?;
        String::from_utf8(output.bytes).map_err(|e| Error::Template(e.to_string()))
    }

    /// The prompt's token ids.
    ///
    /// # Errors
    /// As [`Self::render`] and [`Tokenizer::encode`].
    pub fn encode_chat<'a>(
        &self,
        tokenizer: &Tokenizer,
        talk: impl Into<Talk<'a>>,
        add_generation_prompt: bool,
    ) -> Result<Vec<u32>, Error> {
        self.encode_chat_within(tokenizer, talk, add_generation_prompt, &Effort::unbounded())
    }

    /// As [`Self::encode_chat`], with bounds.
    ///
    /// # Errors
    /// As [`Self::render`] and [`Tokenizer::encode_within`].
    pub fn encode_chat_within<'a>(
        &self,
        tokenizer: &Tokenizer,
        talk: impl Into<Talk<'a>>,
        add_generation_prompt: bool,
        effort: &Effort,
    ) -> Result<Vec<u32>, Error> {
        let prompt = self.render_within(talk.into(), add_generation_prompt, effort)?;
        tokenizer.encode_within(&prompt, false, effort)
    }

    /// The token ids of a conversation whose last turn is not over: what comes next goes on with it, as with
    /// transformers' `continue_final_message`.
    ///
    /// # Errors
    /// As [`Self::encode_chat_within`]; [`Error::Template`] if the last turn is empty, or the template does not write it
    /// as it is.
    pub fn encode_continued_within<'a>(
        &self,
        tokenizer: &Tokenizer,
        talk: impl Into<Talk<'a>>,
        effort: &Effort,
    ) -> Result<Vec<u32>, Error> {
        let talk = talk.into();
        let last = talk.messages.last().map_or("", |message| message.content.as_str());
        if last.trim().is_empty() {
            return Err(Error::Template("the last message has no text to go on with".to_owned()));
        }
        let mut whole = self.render_within(talk, false, effort)?;
        // Templates trim what they are given, but for the end, which is where to go on.
        let found = whole.rfind(last).map(|at| at + last.len());
        let trimmed = last.trim();
        let end = found.or_else(|| whole.rfind(trimmed).map(|at| at + trimmed.len()));
        whole.truncate(end.ok_or_else(|| {
            Error::Template(
                "the template changes the last message, so that nothing can go on with it"
                    .to_owned(),
            )
        })?);
        tokenizer.encode_within(&whole, false, effort)
    }

    /// The token ids to train a conversation on, which ends with an assistant's turn; each with
    /// whether the loss counts it (supervised).
    ///
    /// The ids are those of serving: the prompt of the last turn exactly as [`Self::encode_chat`]
    /// gives it, then the answer as the model would generate it, up to and with the token that
    /// ends the turn. What the template adds after that (a newline in ChatML) is not supervised,
    /// and absent after the last turn. Earlier assistant turns are supervised too, if the prompt
    /// of the last turn holds the same ids that they were generated as; it mostly does.
    ///
    /// # Errors
    /// [`Error::Template`] if the conversation does not end with an assistant's turn, or if the
    /// template does not write a conversation so that its beginning stays what it was (a turn's
    /// prompt must be the beginning of the conversation with the turn), or ends a turn without a
    /// special token: such a model would never learn to stop.
    pub fn encode_training<'a>(
        &self,
        tokenizer: &Tokenizer,
        talk: impl Into<Talk<'a>>,
    ) -> Result<Vec<(u32, bool)>, Error> {
        self.encode_training_within(tokenizer, talk, &Effort::unbounded())
    }

    /// As [`Self::encode_training`], with bounds.
    ///
    /// # Errors
    /// As [`Self::encode_training`] and [`Tokenizer::encode_within`].
    pub fn encode_training_within<'a>(
        &self,
        tokenizer: &Tokenizer,
        talk: impl Into<Talk<'a>>,
        effort: &Effort,
    ) -> Result<Vec<(u32, bool)>, Error> {
        let talk = talk.into();
        let messages = talk.messages;
        let Some(last) = messages.len().checked_sub(1).filter(|l| is_assistant(&messages[*l]))
        else {
            return Err(Error::Template(
                "a training conversation must end with an assistant's turn".to_owned(),
            ));
        };
        let last = self.turn(tokenizer, talk, last, effort)?;
        let mut supervised = vec![false; last.ids.len()];
        supervised[last.start..].fill(true);
        for index in (0..messages.len() - 1).filter(|i| is_assistant(&messages[*i])) {
            let turn = self.turn(tokenizer, talk, index, effort)?;
            if last.ids.starts_with(&turn.ids) {
                supervised[turn.start..turn.ids.len()].fill(true);
            }
        }
        Ok(last.ids.into_iter().zip(supervised).collect())
    }

    /// The prompt of assistant turn `index` and its answer up to the end token.
    fn turn(
        &self,
        tokenizer: &Tokenizer,
        talk: Talk<'_>,
        index: usize,
        effort: &Effort,
    ) -> Result<Turn, Error> {
        let prompt = self.render_within(talk.first(index), true, effort)?;
        let whole = self.render_within(talk.first(index + 1), false, effort)?;
        let Some(answer) = whole.strip_prefix(&prompt) else {
            return Err(Error::Template(format!(
                "turn {} does not continue its own prompt: the template writes finished turns \
                 differently from the prompt that they answer; training on it would not be what \
                 is served",
                index + 1
            )));
        };
        let mut ids = tokenizer.encode_within(&prompt, false, effort)?;
        let start = ids.len();
        let together = tokenizer.encode_within(&whole, false, effort)?;
        match together.strip_prefix(ids.as_slice()) {
            Some(rest) => ids.extend_from_slice(rest),
            // The answer begins with something that merges with the prompt's end. Generation
            // cannot merge backwards, so the answer is encoded alone.
            None => ids.extend(tokenizer.encode_within(answer, false, effort)?),
        }
        let end =
            ids[start..].iter().rposition(|id| tokenizer.is_special(*id)).ok_or_else(|| {
                Error::Template(
                "the template ends an assistant's turn without a special token; a model trained \
                 on it would never stop"
                    .to_owned(),
            )
            })?;
        ids.truncate(start + end + 1);
        Ok(Turn { ids, start })
    }
}

/// The machine that renders a template within limits.
fn environment(source: &str) -> Result<Environment<'static>, Error> {
    let mut environment = Environment::new();
    environment.set_fuel(Some(FUEL));
    environment.set_recursion_limit(RECURSION);
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    environment.add_function("raise_exception", raise_exception);
    environment.add_function("strftime_now", strftime_now);
    environment.add_filter("tojson", python::tojson);
    let checked = checked::checked(source).map_err(to_error)?;
    bounded::install(&mut environment, checked.constants);
    environment.add_template_owned("chat", checked.source).map_err(to_error)?;
    Ok(environment)
}

struct Turn {
    ids: Vec<u32>,
    /// Where the answer begins.
    start: usize,
}

fn is_assistant(message: &Message) -> bool {
    message.role == Role::Assistant
}

fn to_error(error: minijinja::Error) -> Error {
    Error::Template(match error.kind() {
        ErrorKind::OutOfFuel => "takes too long; send fewer messages".to_owned(),
        _ => error.detail().map_or_else(|| error.to_string(), str::to_owned),
    })
}

fn raise_exception(message: String) -> Result<Value, minijinja::Error> {
    Err(minijinja::Error::new(ErrorKind::InvalidOperation, message))
}

fn strftime_now(format: &str) -> Result<String, minijinja::Error> {
    jiff::fmt::strtime::format(format, &jiff::ZonedDateTime::now())
        .map_err(|error| minijinja::Error::new(ErrorKind::InvalidOperation, error.to_string()))
}

impl std::fmt::Debug for ChatTemplate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ChatTemplate").field("digest", &self.digest).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokenizer::tests::STARTER;
    use proptest::prelude::*;

    fn starter() -> ChatTemplate {
        ChatTemplate::from_config(include_bytes!("../../model/starter/tokenizer_config.json"))
            .unwrap()
    }

    fn template(source: &str) -> Result<ChatTemplate, Error> {
        let config = json!({
            "chat_template": source, "bos_token": "<s>", "eos_token": {"content": "</s>"},
        });
        ChatTemplate::from_config(config.to_string().as_bytes())
    }

    fn conversation(turns: &[(Role, &str)]) -> Vec<Message> {
        turns.iter().map(|(role, text)| Message::new(*role, *text)).collect()
    }

    const HELLO: &[(Role, &str)] = &[
        (Role::System, "Be kind."),
        (Role::User, "Hello"),
        (Role::Assistant, "Hi there."),
        (Role::User, "2+2?"),
        (Role::Assistant, "4"),
    ];

    /// What jinja2 writes in transformers' environment.
    #[test]
    fn values_are_written_as_python_writes_them() {
        let source = "{{ messages[0] | tojson }}\n\
                      {{ messages[0] | tojson(separators=(',', ':'), sort_keys=True) }}\n\
                      {{ messages[0] | tojson(indent=2, ensure_ascii=True) }}\n\
                      {{ messages | map(attribute='role') | list }}\n\
                      {% for k, v in messages[0].items() %}{{ k }};{% endfor %}\n\
                      {{ none }} {{ true }} {{ [\"it's\", 1.5, {'a': none}] }} {{ {'b': [], 'a': {}} | tojson }}";
        let text = template(source).unwrap().render(&conversation(&[(Role::User, "é")]), false);
        assert_eq!(
            text.unwrap(),
            "{\"role\": \"user\", \"content\": \"é\"}\n\
             {\"content\":\"é\",\"role\":\"user\"}\n\
             {\n  \"role\": \"user\",\n  \"content\": \"\\u00e9\"\n}\n\
             ['user']\n\
             role;content;None True [\"it's\", 1.5, {'a': None}] {\"b\": [], \"a\": {}}"
        );
    }

    #[test]
    fn what_is_marked_as_the_models_words_is_written() {
        let source = "{% for m in messages %}{%- if m.role == 'assistant' %}{%- generation -%}  {{ m.content }}|{% endgeneration %}\
                      {% else %}{{ m.content }}>{% endif %}{% endfor %}";
        let talk = conversation(&[(Role::User, "a"), (Role::Assistant, "b"), (Role::User, "c")]);
        assert_eq!(template(source).unwrap().render(&talk, false).unwrap(), "a>b|c>");
    }

    #[test]
    fn the_starter_writes_chatml() {
        let text = starter().render(&conversation(&HELLO[1..2]), true).unwrap();
        assert_eq!(text, "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n");
    }

    #[test]
    fn every_answer_and_its_end_token_is_supervised() {
        let tokens = starter().encode_training(&STARTER, &conversation(HELLO)).unwrap();
        let taught: Vec<u32> = tokens.iter().filter(|t| t.1).map(|t| t.0).collect();
        assert_eq!(STARTER.decode(&taught, false), "Hi there.<|im_end|>4<|im_end|>");
        assert_eq!(tokens.last(), Some(&(2, true)));
    }

    #[test]
    fn training_ids_begin_with_the_prompt_of_serving() {
        let messages = conversation(HELLO);
        let template = starter();
        let ids: Vec<u32> =
            template.encode_training(&STARTER, &messages).unwrap().iter().map(|t| t.0).collect();
        let prompt = template.encode_chat(&STARTER, &messages[..4], true).unwrap();
        assert!(ids.starts_with(&prompt));
        assert_eq!(STARTER.decode(&ids[prompt.len()..], false), "4<|im_end|>");
    }

    #[test]
    fn an_answer_that_begins_with_a_newline_does_not_change_its_prompt() {
        let messages = conversation(&[(Role::User, "x"), (Role::Assistant, "\n\nyes")]);
        let template = starter();
        let ids: Vec<u32> =
            template.encode_training(&STARTER, &messages).unwrap().iter().map(|t| t.0).collect();
        let prompt = template.encode_chat(&STARTER, &messages[..1], true).unwrap();
        assert!(ids.starts_with(&prompt));
    }

    #[test]
    fn a_conversation_without_an_answer_is_refused() {
        let error = starter().encode_training(&STARTER, &conversation(&HELLO[..2])).unwrap_err();
        assert!(error.to_string().contains("assistant"), "{error}");
        assert!(starter().encode_training(&STARTER, &[]).is_err());
    }

    #[test]
    fn a_template_that_rewrites_finished_turns_is_refused() {
        let rewriting = template(
            "{% for m in messages %}[{{ m.role }}]{{ m.content | upper }}<|im_end|>{% endfor %}\
             {% if add_generation_prompt %}[assistant]<think>{% endif %}",
        )
        .unwrap();
        let error = rewriting.encode_training(&STARTER, &conversation(HELLO)).unwrap_err();
        assert!(error.to_string().contains("does not continue its own prompt"), "{error}");
    }

    #[test]
    fn a_template_without_an_end_token_is_refused() {
        let endless = template(
            "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}\
             {% if add_generation_prompt %}assistant: {% endif %}",
        )
        .unwrap();
        let error = endless.encode_training(&STARTER, &conversation(HELLO)).unwrap_err();
        assert!(error.to_string().contains("never stop"), "{error}");
    }

    #[test]
    fn transformers_environment_is_there() {
        let text = template(
            "{{ bos_token }}{%- for m in messages %}\n    {% if loop.first %}\n\
             {{ m['content'].strip() | tojson }}\n    {% endif %}\n{% endfor %}\
             {{ {'a': [1, 2]} | tojson }}{{ eos_token }}{% if tools is none %}no{% endif %}",
        )
        .unwrap()
        .render(&conversation(&[(Role::User, " <é> ")]), false)
        .unwrap();
        assert_eq!(text, "<s>\"<é>\"\n{\"a\": [1, 2]}</s>no");
    }

    #[test]
    fn the_date_is_known() {
        let text = template("{{ strftime_now('%Y') }}").unwrap().render(&[], false).unwrap();
        assert_eq!(text.len(), 4, "{text}");
    }

    #[test]
    fn a_refusal_of_the_template_is_told_in_its_words() {
        let picky = template("{{ raise_exception('Roles must alternate') }}").unwrap();
        let error = picky.render(&conversation(HELLO), true).unwrap_err();
        assert_eq!(error.to_string(), "chat template: Roles must alternate");
    }

    #[test]
    fn endless_templates_end() {
        let slow = template(
            "{% set r = range(9999) %}{% for a in r %}{% for b in r %}{% endfor %}{% endfor %}",
        )
        .unwrap();
        assert!(slow.render(&[], false).unwrap_err().to_string().contains("too long"));
        let deep = template("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}").unwrap();
        assert!(deep.render(&[], false).is_err());
        let wide = template("{% for a in range(9999) %}{{ messages[0].content }}{% endfor %}");
        let text = "x".repeat(10_000);
        let error = wide.unwrap().render(&conversation(&[(Role::User, &text)]), false).unwrap_err();
        assert!(error.to_string().contains("longer than"), "{error}");
    }

    /// Each of these takes gigabytes, or hours, where only instructions are counted.
    #[test]
    fn what_makes_much_of_little_is_stopped() {
        for source in [
            "{{ ('x' * 1000000) | replace('x', 'y' * 1000000) }}",
            "{{ ('x' * 1000000).replace('', 'y' * 1000000) }}",
            "{% set x = 'x' * 100000000 %}",
            "{% set ns = namespace(s='xx') %}{% for i in range(60) %}\
             {% set ns.s = ns.s ~ ns.s %}{% endfor %}{{ ns.s | length }}",
            "{% set ns = namespace(s='xx') %}{% for i in range(60) %}\
             {% set ns.s = ns.s + ns.s %}{% endfor %}",
            "{% set ns = namespace(s=[1]) %}{% for i in range(60) %}\
             {% set ns.s = ns.s + ns.s %}{% endfor %}{{ ns.s | join }}",
            "{% set ns = namespace(s=[1]) %}{% for i in range(60) %}\
             {% set ns.s = [ns.s, ns.s] %}{% endfor %}{{ ns.s }}",
            "{% set ns = namespace(s=[1]) %}{% for i in range(60) %}\
             {% set ns.s = {'a': ns.s, 'b': ns.s} %}{% endfor %}{{ ns.s == ns.s }}",
            "{% set ns = namespace(s='xx') %}{% for i in range(60) %}\
             {% set t %}{{ ns.s }}{{ ns.s }}{% endset %}{% set ns.s = t %}{% endfor %}",
            "{% macro m(x, n) %}{% if n %}{{ m(x ~ x, n - 1) }}{% endif %}{% endmacro %}\
             {{ m('xxxxxxxxxxxxxxxx' * 65536, 14) }}",
            "{{ range(100000) | join('x' * 100000) }}",
            "{{ ('x' * 100000).join(range(100000)) }}",
            "{{ ([1] * 1000000000000) | join }}",
            "{{ 'x' | indent(10000000000, true) }}",
            "{{ 'x' | indent(width=10000000000, first=true) }}",
            "{{ '%10000000000s' | format('x') }}",
            "{{ '%*s' | format(1000000000, 'x') }}",
            "{{ '{:>1000000000}'.format('x') }}",
            "{{ '{:>{}}'.format('x', 1000000000) }}",
            "{{ [1] | batch(10000000000, 'x') | list | length }}",
            "{{ [1] | slice(10000000000) | list | length }}",
            "{% set ns = namespace(l=[1]) %}{% for i in range(90000) %}\
             {% set ns.l = [ns.l] %}{% endfor %}{{ ns.l }}",
            "{% set ns = namespace() %}{% set ns.l = ns %}{{ ns }}",
            "{% set ns = namespace() %}{% set ns.l = [ns] %}{{ ns }}",
            "{% set big = 'x' * 4000000 %}{% for i in range(90000) %}\
             {{ big | upper | length }}{% endfor %}",
            "{% set l = range(90000) | list %}{% for i in l %}{% set x = l | sort %}{% endfor %}",
            "{% set l = ('x,' * 20000000).split(',') %}",
            "{{ range(90000) | map('replace', '', 'x' * 100000) | list | length }}",
            "{% filter replace('x', 'y' * 1000000) %}{{ 'x' * 1000000 }}{% endfilter %}",
            "{% set t | replace('x', 'y' * 1000000) %}{{ 'x' * 1000000 }}{% endset %}",
        ] {
            let source = format!("{source}{{# #}}");
            let error = template(&source).unwrap().render(&conversation(HELLO), true).unwrap_err();
            assert!(matches!(error, Error::Template(_)), "{source}: {error}");
        }
    }

    #[test]
    fn a_rendering_ends_with_its_client() {
        let slow = template("{% for a in range(9999) %}{{ a ~ a }}{% endfor %}").unwrap();
        let left = Effort::unbounded();
        left.cancelled.store(true, std::sync::atomic::Ordering::Relaxed);
        let error = slow.encode_chat_within(&STARTER, &[], true, &left).unwrap_err();
        assert!(matches!(error, Error::Cancelled), "{error}");
        assert!(slow.render(&[], true).is_ok(), "and the next one does not hear of it");
    }

    /// The steps are checked and otherwise the same.
    #[test]
    fn a_checked_template_writes_what_it_says() {
        for (source, expected) in [
            ("{% if 1 > 2 %}a{% elif 2 > 1 and not false %}b{% else %}c{% endif %}", "b"),
            ("{% for k, v in {'a': 1, 'b': 2}.items() %}{{ k }}{{ v }}{% endfor %}", "a1b2"),
            ("{% for x in [1, 2, 3] if x is odd %}{{ x }}{% else %}none{% endfor %}", "13"),
            ("{% set a, b = 'x', \"y\\n\" %}{{ a ~ b ~ -1 ~ 2 ** 3 }}", "xy\n-18"),
            (
                "{% macro m(a, b='z') %}{{ a }}{{ b }}{{ caller() }}{% endmacro %}\
              {% call m('q') %}in{% endcall %}",
                "qzin",
            ),
            ("{{ 'abc'[::-1] }}{{ 'abc'[1:] }}{{ [1, 2][-1] }}{{ 'a' if false }}", "cbabc2"),
            (
                "{% set ns = namespace(n=0) %}{% for x in 'ab' | list %}{% set ns.n = ns.n + 1 %}\
              {% endfor %}{{ ns.n }}",
                "2",
            ),
            (
                "{{ 'x' in 'xyz' and 'a' not in 'b' }}{{ 1 < 2 < 3 }}{{ none is none }}",
                "TrueTrueTrue",
            ),
            (
                "{% for x in [1, [2, [3]]] recursive %}{% if x is number %}{{ x }}{% else %}\
              {{ loop(x) }}{% endif %}{% endfor %}",
                "123",
            ),
            ("{% set t %}a {{ 1 }}{% endset %}{{ t | upper | replace('A', 'b') }}", "b 1"),
            (
                "{{ 'a' ~ 1 ~ 2 ~ 3 ~ 4 ~ 5 ~ 6 ~ 7 ~ 8 ~ 9 ~ 0 ~ 1 ~ 2 ~ 3 ~ 4 ~ 5 ~ 6 ~ 7 ~ 8 }}",
                "a123456789012345678",
            ),
            ("{{ (1, 2) | join('-') }}{{ dict(a=1).a }}{{ '%s-%d' | format('x', 3) }}", "1-21x-3"),
            ("{% with a = 1, b = 2 %}{{ a + b }}{% endwith %}{{ missing is defined }}", "3False"),
            ("  {% if true %}\n  a\n  {%- endif %}\n  b", "  a  b"),
        ] {
            let text = template(source).unwrap().render(&[], false).unwrap();
            assert_eq!(text, expected, "{source}");
        }
    }

    #[test]
    fn a_model_without_a_template_cannot_chat() {
        let without = ChatTemplate::from_config(b"{}").unwrap();
        assert!(!without.is_there() && starter().is_there());
        let question = conversation(&HELLO[1..2]);
        let error = without.render(&question, true).unwrap_err().to_string();
        assert!(error.contains("no chat template") && error.contains("/v1/completions"), "{error}");
        let turns = conversation(&HELLO[1..3]);
        assert!(without.encode_training(&STARTER, &turns).is_err());
    }

    #[test]
    fn the_digest_is_the_template() {
        assert_eq!(starter().digest(), starter().digest());
        assert_ne!(template("a").unwrap().digest(), template("b").unwrap().digest());
    }

    proptest! {
        #[test]
        fn training_equals_serving(
            turns in prop::collection::vec(("\\PC{0,12}", "[ \n]{0,2}\\PC{0,12}"), 1..4),
        ) {
            let template = starter();
            let mut messages = Vec::new();
            for (question, answer) in &turns {
                messages.push(Message::new(Role::User, question.clone()));
                messages.push(Message::new(Role::Assistant, answer.clone()));
            }
            let tokens = template.encode_training(&STARTER, &messages).unwrap();
            let prompt =
                template.encode_chat(&STARTER, &messages[..messages.len() - 1], true).unwrap();
            let ids: Vec<u32> = tokens.iter().map(|t| t.0).collect();
            prop_assert!(ids.starts_with(&prompt));
            prop_assert!(tokens[prompt.len()..].iter().all(|t| t.1));
            let answer = STARTER.decode(&ids[prompt.len()..], false);
            prop_assert_eq!(answer, format!("{}<|im_end|>", turns[turns.len() - 1].1));
        }
    }
}
