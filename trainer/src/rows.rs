//! Rows to token sequences.
//!
//! A row that teaches nothing (no supervised token) or that never teaches to stop (no end token) is
//! refused by name: trained on, the first gives a loss of NaN and the second an answer without end.

use std::collections::BTreeMap;
use std::num::NonZeroU8;
use std::ops::Range;
use std::path::Path;

use hone_api::chat::{Message, Role, Tool};
use hone_dataset::Kind;
use hone_dataset::lines::{self, Unreadable};
use hone_model::ModelConfig;
use hone_model::train::TrainSequence;
use hone_text::{ChatTemplate, Talk, Tokenizer};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::Error;
use crate::formats::to_messages;
use crate::training_config::TrainingConfig;

/// Fewer validation rows than this stop nothing early: their loss is mostly chance.
pub const FEWEST_TO_MEASURE: usize = 20;

/// The parts of a row that matter here, of a snapshot or in OpenAI's chat format.
#[derive(Debug, Deserialize)]
struct Row {
    messages: Vec<Turn>,
    /// What the model is told of, as OpenAI's rows have it.
    #[serde(default)]
    tools: Option<Vec<Tool>>,
    /// The answer, in the files of suites and workloads, whose conversations end before it.
    #[serde(default)]
    reference: String,
    split: Option<String>,
    /// Of a snapshot's rows: only the last turn is what the row is about. Replay and rehearsal rows
    /// keep what the base can do: see [`TrainingConfig::kl_weight`].
    kind: Option<Kind>,
    /// How often it is shown in a pass.
    showings: Option<NonZeroU8>,
    /// Its question, the last turn of the user, in other wordings, shown in turn after its own.
    #[serde(default)]
    wordings: Vec<String>,
    /// Of a row that is rehearsed: other conversations that are shown in its place in the passes after
    /// the first.
    #[serde(default)]
    alternates: Vec<Vec<Turn>>,
}

/// What a row is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Split {
    Train,
    Validation,
    HeldOut,
}

impl Split {
    /// By the names that data sets have for it.
    fn parse(name: &str) -> Result<Self, String> {
        match name.to_ascii_lowercase().replace(['-', '_', ' '], "").as_str() {
            // Workloads have rows that users would send as feedback, and those that are rehearsed.
            "train" | "training" | "feedback" | "rehearsal" => Ok(Self::Train),
            "validation" | "valid" | "val" | "dev" | "eval" => Ok(Self::Validation),
            "heldout" | "holdout" | "test" | "testing" => Ok(Self::HeldOut),
            _ => Err(format!("split {name:?} is none of train, validation, test")),
        }
    }
}

/// OpenAI's weight of a turn: 0 or 1, as a whole number or not.
fn zero_or_one<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u8>, D::Error> {
    match Option::<f64>::deserialize(deserializer)? {
        None => Ok(None),
        Some(0.0) => Ok(Some(0)),
        Some(1.0) => Ok(Some(1)),
        Some(other) => Err(D::Error::custom(format!("weight is {other}; it must be 0 or 1"))),
    }
}

impl Row {
    /// Reads a line, of any format that is known.
    fn parse(line: &str) -> Result<Self, String> {
        let mut row: Value = serde_json::from_str(line).map_err(|error| describe(&error))?;
        if row.is_array() {
            return Err("it is a list; write one object a line".to_owned());
        }
        to_messages(&mut row)?;
        serde_json::from_value(row).map_err(|error| describe(&error))
    }

    /// Whether its answer is a target, or only what the base makes of it.
    fn is_imitated(&self) -> bool {
        self.kind != Some(Kind::Rehearsal)
    }

    fn has_kl_to_base(&self) -> bool {
        matches!(self.kind, Some(Kind::Replay | Kind::Rehearsal))
    }
}

#[derive(Debug, Clone, Deserialize)]
struct Turn {
    #[serde(flatten)]
    message: Message,
    /// OpenAI's: 0 keeps an assistant's turn out of the loss, of the text and of the divergence.
    #[serde(default, deserialize_with = "zero_or_one")]
    weight: Option<u8>,
}

/// A conversation with the tools that the model is told of in it.
#[derive(Clone, Copy)]
struct Shown<'a> {
    turns: &'a [Turn],
    tools: &'a [Tool],
}

/// A row to train on.
#[derive(Debug, Clone, PartialEq)]
pub struct Lesson {
    /// How often it is shown in a pass, at least.
    pub showings: usize,
    /// The row itself, then with its question in other wordings.
    wordings: Vec<TrainSequence>,
}

impl Lesson {
    /// The row as it is shown for the `number`-th time.
    pub fn shown(&self, number: usize) -> &TrainSequence {
        &self.wordings[number % self.wordings.len()]
    }

    /// The row as it is shown for the `number`-th time in a pass. What is rehearsed goes through its
    /// conversations over the passes; what is taught begins each pass with its own words.
    pub fn shown_in(&self, pass: usize, number: usize) -> &TrainSequence {
        match self.is_taught() {
            true => self.shown(number),
            false => self.shown(pass * self.showings + number),
        }
    }

    /// The row as it was written.
    pub fn itself(&self) -> &TrainSequence {
        self.shown(0)
    }

    /// The row in the last of its other wordings: none is shown less often.
    pub fn in_other_words(&self) -> Option<&TrainSequence> {
        self.wordings[1..].last()
    }

    fn into_itself(mut self) -> TrainSequence {
        self.wordings.swap_remove(0)
    }

    /// All its wordings.
    pub fn wordings(&self) -> &[TrainSequence] {
        &self.wordings
    }

    /// Whether it teaches its answer and nothing else.
    pub fn is_taught(&self) -> bool {
        self.itself().imitated && !self.itself().has_kl_to_base()
    }
}

/// Everything that the job learns from.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Rows {
    /// Rows to train on.
    pub train: Vec<Lesson>,
    /// Rows to measure on.
    pub validation: Vec<TrainSequence>,
    /// Refused rows, by reason.
    pub refused: BTreeMap<String, usize>,
    /// blake3 of the file, hex.
    pub digest: String,
}

/// What turns conversations into tokens.
#[derive(Clone, Copy)]
pub struct Renderer<'a> {
    /// The base's tokenizer.
    pub tokenizer: &'a Tokenizer,
    /// The base's chat template.
    pub template: &'a ChatTemplate,
    /// The base's sizes.
    pub config: &'a ModelConfig,
}

impl Renderer<'_> {
    /// A row in all its wordings. One that cannot be rendered is left out, but not the row itself.
    fn lesson(&self, row: &Row, longest: usize, wants_kl: bool) -> Result<Lesson, String> {
        let tools = row.tools.as_deref().unwrap_or_default();
        let shown = |messages: &[Turn], tools: &[Tool]| {
            self.sequence(row, Shown { turns: messages, tools }, longest, wants_kl)
        };
        let mut wordings = vec![shown(&row.messages, tools)?];
        let question = row.messages.iter().rposition(|turn| turn.message.role == Role::User);
        for (wording, question) in row.wordings.iter().zip(question.into_iter().cycle()) {
            let mut messages = row.messages.clone();
            messages[question].message.content.clone_from(wording);
            wordings.extend(shown(&messages, tools));
        }
        for messages in &row.alternates {
            wordings.extend(shown(messages, &[]));
        }
        Ok(Lesson { showings: row.showings.map_or(1, |times| usize::from(times.get())), wordings })
    }

    /// One conversation; `Err` is the reason that it is refused for.
    fn sequence(
        &self,
        row: &Row,
        shown: Shown<'_>,
        longest: usize,
        wants_kl: bool,
    ) -> Result<TrainSequence, String> {
        let Shown { turns, tools } = shown;
        let messages: Vec<Message> = turns.iter().map(|turn| turn.message.clone()).collect();
        let tokens = self
            .template
            .encode_training(self.tokenizer, Talk { messages: &messages, tools })
            .map_err(|error| error.to_string())?;
        let (tokens, mut supervised): (Vec<u32>, Vec<bool>) = tokens.into_iter().unzip();
        if tokens.len() > longest {
            return Err(format!("longer than {longest} tokens"));
        }
        self.check_ends(&tokens, &supervised)?;
        let kl_to_base = match wants_kl && row.has_kl_to_base() {
            true => kl_targets(turns, &supervised)?,
            false => Vec::new(),
        };
        mask(row, turns, &mut supervised)?;
        let imitated = row.is_imitated();
        let sequence = TrainSequence { tokens, supervised, imitated, kl_to_base };
        match sequence.supervised_tokens() {
            0 => Err("no supervised token".to_owned()),
            _ => Ok(sequence),
        }
    }

    /// The last supervised token must be one that ends a generation.
    fn check_ends(&self, tokens: &[u32], supervised: &[bool]) -> Result<(), String> {
        let Some(last) = supervised.iter().rposition(|supervised| *supervised) else {
            return Err("no supervised token".to_owned());
        };
        if self.config.eos_token_ids.contains(&tokens[last]) {
            return Ok(());
        }
        Err("no end token after the answer".to_owned())
    }
}

/// Takes out of the loss what the row does not teach: turns with weight 0, and of a snapshot's row
/// all turns but the last.
fn mask(row: &Row, turns: &[Turn], supervised: &mut [bool]) -> Result<(), String> {
    if row.kind.is_some() {
        let end = supervised.iter().rposition(|s| *s).map_or(0, |last| last + 1);
        let start = supervised[..end].iter().rposition(|s| !*s).map_or(0, |before| before + 1);
        supervised[..start].fill(false);
        return Ok(());
    }
    for turn in unweighted(turns, supervised)? {
        supervised[turn].fill(false);
    }
    Ok(())
}

/// Where the base's distribution is a target: everywhere but in turns with weight 0. What somebody
/// called bad is nothing to keep.
fn kl_targets(turns: &[Turn], supervised: &[bool]) -> Result<Vec<bool>, String> {
    let mut kl_to_base = vec![true; supervised.len()];
    for turn in unweighted(turns, supervised)? {
        kl_to_base[turn].fill(false);
    }
    Ok(kl_to_base)
}

/// The tokens of each turn with weight 0. The runs of supervised tokens are the assistant's turns in
/// order, for a template never writes two of them without a header in between.
fn unweighted(turns: &[Turn], supervised: &[bool]) -> Result<Vec<Range<usize>>, String> {
    let turns = turns.iter().filter(|turn| turn.message.role == Role::Assistant);
    let weights: Vec<u8> = turns.map(|turn| turn.weight.unwrap_or(1)).collect();
    if weights.iter().all(|weight| *weight == 1) {
        return Ok(Vec::new());
    }
    if weights.iter().any(|weight| *weight > 1) {
        return Err("a weight other than 0 or 1".to_owned());
    }
    let mut runs: Vec<Range<usize>> = Vec::new();
    for at in (0..supervised.len()).filter(|at| supervised[*at]) {
        match runs.last_mut() {
            Some(run) if run.end == at => run.end = at + 1,
            _ => runs.push(at..at + 1),
        }
    }
    if runs.len() != weights.len() {
        return Err("weights on turns that the template does not keep apart".to_owned());
    }
    let zero = runs.into_iter().zip(weights).filter(|(_, weight)| *weight == 0);
    Ok(zero.map(|(run, _)| run).collect())
}

impl Rows {
    /// Reads a JSONL file.
    ///
    /// # Errors
    /// A line is not a row; too many rows are refused; none is left to train on.
    pub fn read(
        path: &Path,
        renderer: Renderer<'_>,
        training: &TrainingConfig,
    ) -> Result<Self, Error> {
        let text = lines::read(path).map_err(|error| match error {
            Unreadable::Io(error) => error.into(),
            Unreadable::NotUtf8(line) => {
                Error::Row { path: path.to_owned(), line, error: "it is not UTF-8".to_owned() }
            }
        })?;
        let longest = match training.max_length {
            0 => renderer.config.max_positions,
            length => length.min(renderer.config.max_positions),
        };
        let mut rows =
            Self { digest: blake3::hash(text.as_bytes()).to_hex().to_string(), ..Self::default() };
        let mut unmarked = Vec::new();
        let mut count = 0;
        for (number, line) in lines::numbered(&text) {
            let wrong = |error| Error::Row { path: path.to_owned(), line: number, error };
            let mut row = Row::parse(line).map_err(wrong)?;
            let split = row.split.take().map(|split| Split::parse(&split).map_err(wrong));
            let split = split.transpose()?;
            if split == Some(Split::HeldOut) {
                continue; // Asked at the gate: trained on, it would prove nothing.
            }
            count += 1;
            let asked = row.messages.last().is_some_and(|t| t.message.role != Role::Assistant);
            if asked && !row.reference.is_empty() {
                let message = Message::new(Role::Assistant, row.reference.clone());
                row.messages.push(Turn { message, weight: None });
            }
            if training.kl_weight <= 0.0 && !row.is_imitated() {
                continue; // It would keep nothing and teach nothing.
            }
            match renderer.lesson(&row, longest, training.kl_weight > 0.0) {
                Ok(lesson) => match split {
                    Some(Split::Validation) => rows.validation.push(lesson.into_itself()),
                    Some(_) => rows.train.push(lesson),
                    None => unmarked.push((share(lesson.itself()), lesson)),
                },
                Err(reason) => {
                    tracing::warn!(line = number, reason, "a row is refused");
                    *rows.refused.entry(reason).or_default() += 1;
                }
            }
        }
        // So few rows would say little, and be missed in training.
        let enough = unmarked.len() as f64 * training.validation_share >= FEWEST_TO_MEASURE as f64;
        let held =
            if rows.validation.is_empty() && enough { training.validation_share } else { 0.0 };
        for (share, lesson) in unmarked {
            match share < held {
                true => rows.validation.push(lesson.into_itself()),
                false => rows.train.push(lesson),
            }
        }
        if rows.train.is_empty() {
            // A handful of rows: better to train on them than to measure on them.
            let once = |itself| Lesson { showings: 1, wordings: vec![itself] };
            rows.train = std::mem::take(&mut rows.validation).into_iter().map(once).collect();
        }
        // Early stopping looks at the task: how likely the right answers are.
        rows.validation.iter_mut().for_each(|sequence| sequence.kl_to_base = Vec::new());
        rows.check(count, training)?;
        Ok(rows)
    }

    fn check(&self, count: usize, training: &TrainingConfig) -> Result<(), Error> {
        let refused: usize = self.refused.values().sum();
        let reasons: Vec<String> =
            self.refused.iter().map(|(reason, count)| format!("{count}: {reason}")).collect();
        if self.train.is_empty() {
            let refused = match refused {
                0 => "the file has no rows".to_owned(),
                _ => format!("refused {}", reasons.join("; ")),
            };
            return Err(Error::NoRows { refused });
        }
        if refused as f64 > training.max_refused_share * count as f64 {
            return Err(Error::TooManyRefused {
                refused,
                rows: count,
                reasons: reasons.join("; "),
            });
        }
        Ok(())
    }
}

/// What is wrong with a line, without the parser's own count of lines: it sees one at a time.
fn describe(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let what = text.split(" at line ").next().unwrap_or(&text);
    if error.is_data() {
        what.to_owned()
    } else {
        format!("it is not JSON: {what} at column {}", error.column())
    }
}

/// A number in 0..1 that depends on the row's content only, so that growing files keep their split.
fn share(sequence: &TrainSequence) -> f64 {
    let mut hash = blake3::Hasher::new();
    for token in &sequence.tokens {
        hash.update(&token.to_le_bytes());
    }
    let mut first = [0; 8];
    first.copy_from_slice(&hash.finalize().as_bytes()[..8]);
    (u64::from_le_bytes(first) >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn starter() -> (Tokenizer, ChatTemplate, ModelConfig) {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../model/starter");
        let read = |name: &str| fs_err::read(dir.join(name)).unwrap();
        (
            Tokenizer::from_bytes(&read("tokenizer.json")).unwrap(),
            ChatTemplate::from_config(&read("tokenizer_config.json")).unwrap(),
            ModelConfig::parse(&read("config.json"), None).unwrap(),
        )
    }

    fn read(lines: &[&str], training: &TrainingConfig) -> Result<Rows, Error> {
        let (tokenizer, template, config) = starter();
        let renderer = Renderer { tokenizer: &tokenizer, template: &template, config: &config };
        let file = tempfile::NamedTempFile::new().unwrap();
        fs_err::write(file.path(), lines.join("\n")).unwrap();
        Rows::read(file.path(), renderer, training)
    }

    const ROW: &str = r#"{"messages":[{"role":"user","content":"2+2?"},{"role":"assistant","content":"4"}],"split":"train"}"#;

    #[test]
    fn the_answer_and_its_end_are_supervised_and_nothing_else() {
        let rows = read(&[ROW], &TrainingConfig::plain()).unwrap();
        let row = rows.train[0].itself();
        // "4" and <|im_end|>
        assert_eq!(row.supervised_tokens(), 2);
        assert_eq!(row.tokens.last(), Some(&2));
        assert!(row.supervised.ends_with(&[false, true, true]));
    }

    #[test]
    fn splits_by_any_of_their_names() {
        let named = |name: &str| ROW.replace("\"train\"", &format!("{name:?}"));
        for (name, taught) in
            [("Training", 2), ("val", 1), ("dev", 1), ("test", 1), ("held-out", 1)]
        {
            let rows = read(&[ROW, &named(name)], &TrainingConfig::plain()).unwrap();
            assert_eq!(rows.train.len(), taught, "{name}");
            let measured = usize::from(matches!(name, "val" | "dev"));
            assert_eq!(rows.validation.len(), measured, "{name}");
        }
        let error =
            read(&[ROW, &named("spare")], &TrainingConfig::plain()).unwrap_err().to_string();
        assert!(error.contains("\"spare\"") && error.contains('2'), "{error}");
    }

    #[test]
    fn a_weight_is_zero_or_one_with_a_point_or_without() {
        let row = |weight: &str| {
            let turn = format!(r#"{{"role":"assistant","content":"bad","weight":{weight}}}"#);
            let first = r#"{"role":"user","content":"a"}"#;
            let rest = &ROW[r#"{"messages":["#.len()..];
            read(&[&format!(r#"{{"messages":[{first},{turn},{rest}"#)], &TrainingConfig::plain())
        };
        let supervised = |weight| row(weight).unwrap().train[0].itself().supervised_tokens();
        assert_eq!(supervised("0.0"), supervised("0"));
        assert_eq!(supervised("1.0"), supervised("1"));
        assert!(supervised("0") < supervised("1"));
        assert!(row("0.5").unwrap_err().to_string().contains("0 or 1"));
    }

    #[test]
    fn rows_of_other_tools_are_read() {
        let share =
            r#"{"conversations":[{"from":"human","value":"2+2?"},{"from":"gpt","value":"4"}]}"#;
        let alpaca = r#"{"instruction":"2+2?","input":"","output":"4"}"#;
        let rows = read(&[ROW, share, alpaca], &TrainingConfig::plain()).unwrap();
        assert_eq!(rows.train.len(), 3);
        assert!(rows.train.iter().all(|lesson| lesson.itself() == rows.train[0].itself()));
        let error =
            read(&[r#"{"text":"2+2=4"}"#], &TrainingConfig::plain()).unwrap_err().to_string();
        assert!(error.contains("ShareGPT") && error.contains("text"), "{error}");
    }

    #[test]
    fn a_call_is_supervised_as_it_is_served() {
        let tools = r#""tools":[{"type":"function","function":{"name":"add","parameters":{"type":"object","properties":{"a":{"type":"integer"}}}}}]"#;
        let call = r#"{"role":"assistant","content":"","tool_calls":[{"id":"c1","type":"function","function":{"name":"add","arguments":"{\"a\":4}"}}]}"#;
        let asked = r#"{"role":"user","content":"add 4"}"#;
        let row = format!(r#"{{"messages":[{asked},{call}],{tools}}}"#);
        let null = row.replace(r#""content":"","#, r#""content":null,"#);
        let object = row.replace(r#""{\"a\":4}""#, r#"{"a":4}"#);
        let result = r#"{"role":"tool","tool_call_id":"c1","content":"8"}"#;
        let end = r#"{"role":"assistant","content":"It is 8."}"#;
        let whole = row.replace(call, &format!("{call},{result},{end}"));
        let rows = read(&[&row, &null, &object, &whole], &TrainingConfig::plain()).unwrap();
        assert_eq!(rows.refused.len(), 0);
        let (tokenizer, _, _) = starter();
        let taught = |at: usize| {
            let row = rows.train[at].itself();
            let supervised = row.tokens.iter().zip(&row.supervised).filter(|(_, s)| **s);
            let ids: Vec<u32> = supervised.map(|(id, _)| *id).collect();
            (tokenizer.decode(&ids, false), tokenizer.decode(&row.tokens, false))
        };
        let written =
            "<tool_call>\n{\"name\": \"add\", \"arguments\": {\"a\": 4}}\n</tool_call><|im_end|>";
        assert_eq!(taught(0).0, written);
        assert!(taught(0).1.contains("<tools>\n{\"type\": \"function\""), "{}", taught(0).1);
        assert_eq!((taught(1), taught(2)), (taught(0), taught(0)));
        assert_eq!(taught(3).0, format!("{written}It is 8.<|im_end|>"));
        assert!(taught(3).1.contains("<tool_response>\n8\n</tool_response>"));
        let neither = row.replace("tool_calls", "calls").replace(r#""content":"","#, "");
        assert!(read(&[&neither], &TrainingConfig::plain()).is_err());
    }

    #[test]
    fn replay_rows_have_kl_to_base_where_they_train() {
        let kind = |kind: &str| ROW.replace("\"split\"", &format!("\"kind\":\"{kind}\",\"split\""));
        let (replay, supervised) = (kind("replay"), kind("supervised"));
        let rehearsal = kind("rehearsal");
        let measured = replay.replace("\"train\"", "\"validation\"");
        let lines = [ROW, &replay, &supervised, &rehearsal, &measured];
        let roles = |training: &TrainingConfig| -> Vec<(bool, bool)> {
            let rows = read(&lines, training).unwrap();
            let rows = rows.train.iter().map(Lesson::itself).chain(&rows.validation);
            rows.map(|row| (row.imitated, row.has_kl_to_base())).collect()
        };
        let (taught, both, kept) = ((true, false), (true, true), (false, true));
        assert_eq!(roles(&TrainingConfig::plain()), [taught, both, taught, kept, taught]);
        let without = TrainingConfig { kl_weight: 0.0, ..TrainingConfig::plain() };
        assert_eq!(roles(&without), [taught; 4]);
        assert!(read(&[&kind("other")], &without).is_err());
    }

    #[test]
    fn of_a_snapshots_row_only_the_judged_turn_is_taught() {
        let talk = |kind: &str, weight: &str| {
            format!(
                r#"{{"kind":"{kind}","split":"train","messages":[{{"role":"user","content":"a"}},{{"role":"assistant","content":"b c"{weight}}},{{"role":"user","content":"d"}},{{"role":"assistant","content":"e"}}]}}"#
            )
        };
        let one = |line: String| {
            read(&[&line], &TrainingConfig::plain()).unwrap().train[0].itself().clone()
        };
        let taught = one(talk("supervised", ""));
        assert_eq!(taught.supervised_tokens(), 2, "e and the end");
        let kept = one(talk("replay", ""));
        assert_eq!((kept.supervised_tokens(), kept.kl_to_base.contains(&false)), (2, false));
        // Nobody is held to what was called bad.
        let called_bad = one(talk("rehearsal", r#","weight":0"#));
        let free = called_bad.kl_to_base.iter().filter(|kl_to_base| !**kl_to_base).count();
        assert_eq!(free, 3, "b, c and the end");
        assert!(called_bad.kl_to_base.ends_with(&[true, true]));
    }

    #[test]
    fn a_row_is_shown_in_all_its_wordings_in_turn() {
        let row = ROW.replace("\"split\"", r#""showings":2,"wordings":["1+3?","4+0?"],"split""#);
        let lesson = read(&[&row], &TrainingConfig::plain()).unwrap().train.remove(0);
        assert_eq!((lesson.showings, lesson.wordings().len()), (2, 3));
        assert_eq!(lesson.shown(0), lesson.itself());
        assert_eq!(lesson.shown(3), lesson.itself());
        assert_eq!(Some(lesson.shown(2)), lesson.in_other_words());
        assert_ne!(lesson.shown(1).tokens, lesson.shown(2).tokens);
        assert!(lesson.wordings().iter().all(|it| it.supervised_tokens() == 2), "the answer stays");
        assert!(read(&[&row.replace(":2,", ":0,")], &TrainingConfig::plain()).is_err());
        assert!(read(&[&row.replace(":2,", ":300,")], &TrainingConfig::plain()).is_err());
        let plain = read(&[ROW], &TrainingConfig::plain()).unwrap().train.remove(0);
        assert!(plain.in_other_words().is_none());
    }

    #[test]
    fn what_is_rehearsed_goes_through_its_conversations() {
        let other = r#""alternates":[[{"role":"user","content":"a"},{"role":"assistant","content":"b c","weight":0},{"role":"user","content":"d"},{"role":"assistant","content":"e"}]],"split""#;
        let row = ROW.replace("\"split\"", &format!(r#""kind":"rehearsal",{other}"#));
        let lesson = read(&[&row], &TrainingConfig::plain()).unwrap().train.remove(0);
        assert_eq!(lesson.shown_in(0, 0), lesson.itself());
        assert_eq!(lesson.shown_in(2, 0), lesson.itself());
        let alternate = lesson.shown_in(1, 0);
        assert_ne!(alternate.tokens, lesson.itself().tokens);
        let free = alternate.kl_to_base.iter().filter(|kl_to_base| !**kl_to_base).count();
        assert_eq!(
            (free, alternate.imitated),
            (3, false),
            "its own turns count, not the first one's"
        );
        let taught = ROW.replace("\"split\"", r#""wordings":["1+3?"],"split""#);
        let lesson = read(&[&taught], &TrainingConfig::plain()).unwrap().train.remove(0);
        assert_eq!(lesson.shown_in(1, 0), lesson.itself(), "each pass begins with its own words");
    }

    #[test]
    fn weight_zero_takes_a_turn_out() {
        let talk = |weight: &str| {
            format!(
                r#"{{"messages":[{{"role":"user","content":"a"}},{{"role":"assistant","content":"b c"{weight}}},{{"role":"user","content":"d"}},{{"role":"assistant","content":"e"}}]}}"#
            )
        };
        let training = TrainingConfig { validation_share: 0.0, ..TrainingConfig::plain() };
        let whole = read(&[&talk("")], &training).unwrap().train[0].itself().clone();
        let masked = read(&[&talk(r#","weight":0"#)], &training).unwrap().train[0].itself().clone();
        assert_eq!(masked.tokens, whole.tokens);
        assert_eq!(masked.supervised_tokens(), 2);
        assert!(whole.supervised_tokens() > 3);
        let error = read(&[&talk(r#","weight":2"#)], &training).unwrap_err().to_string();
        assert!(error.contains("weight"), "{error}");
    }

    #[test]
    fn rows_that_teach_nothing_are_refused_by_name() {
        let silent = r#"{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b","weight":0}]}"#;
        let unanswered = r#"{"messages":[{"role":"user","content":"a"}]}"#;
        let rows = read(&[ROW, ROW, silent, unanswered, ROW], &TrainingConfig::plain()).unwrap();
        assert_eq!(rows.train.len(), 3);
        assert_eq!(rows.refused.values().sum::<usize>(), 2);
        assert_eq!(rows.refused["no supervised token"], 1);

        let error = read(&[silent, unanswered], &TrainingConfig::plain()).unwrap_err().to_string();
        assert!(error.contains("1: no supervised token"), "{error}");
        let few = TrainingConfig { max_refused_share: 0.1, ..TrainingConfig::plain() };
        assert!(matches!(
            read(&[ROW, silent], &few),
            Err(Error::TooManyRefused { refused: 1, rows: 2, .. })
        ));
        let short = TrainingConfig { max_length: 5, ..TrainingConfig::plain() };
        assert!(read(&[ROW], &short).unwrap_err().to_string().contains("longer than 5"));
        let marked = read(&[&format!("\u{feff}{ROW}")], &TrainingConfig::plain()).unwrap();
        assert_eq!(marked.train.len(), 1, "a mark of the encoding is no part of a row");
        let error = read(&[ROW, "{"], &TrainingConfig::plain()).unwrap_err().to_string();
        assert!(error.contains("line 2 of ") && error.contains("not JSON"), "{error}");
        let error = read(&[&format!("[{ROW}]")], &TrainingConfig::plain()).unwrap_err().to_string();
        assert!(error.contains("one object a line"), "{error}");
    }

    #[test]
    fn a_line_in_another_encoding_is_named() {
        let (tokenizer, template, config) = starter();
        let renderer = Renderer { tokenizer: &tokenizer, template: &template, config: &config };
        let file = tempfile::NamedTempFile::new().unwrap();
        fs_err::write(file.path(), [ROW.as_bytes(), b"\n\n\xe9\n"].concat()).unwrap();
        let error =
            Rows::read(file.path(), renderer, &TrainingConfig::plain()).unwrap_err().to_string();
        assert!(error.contains("line 3 of ") && error.contains("UTF-8"), "{error}");
    }

    #[test]
    fn held_out_rows_never_train_and_references_are_answers() {
        let held = ROW.replace("\"train\"", "\"held_out\"");
        let suite = r#"{"family":"f","split":"feedback","messages":[{"role":"user","content":"a"}],"reference":"b","check":{"type":"exact","value":"b"}}"#;
        let marked = ROW.replace("\"train\"", "\"validation\"");
        let rows = read(&[&held, suite, &marked], &TrainingConfig::plain()).unwrap();
        assert_eq!((rows.train.len(), rows.validation.len()), (1, 1));
    }
}
