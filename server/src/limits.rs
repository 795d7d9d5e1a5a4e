//! Who is let in: the gate that closes when the daemon stops, and the room that a context leaves.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hone_api::error::Invalid;
use hone_api::sampling::Limits;
use tokio_util::sync::CancellationToken;

use crate::error::ApiError;

/// Counts the answers under way and lets no new ones in once the daemon stops.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    open: AtomicUsize,
    idle: tokio::sync::Notify,
    /// The daemon stops: nothing new begins, what runs may end.
    pub(crate) draining: CancellationToken,
    /// Time is up: what still runs ends with an error.
    pub(crate) cut: CancellationToken,
}

impl Gate {
    /// Lets one answer in; it counts until the permit is dropped.
    ///
    /// # Errors
    /// 503 while draining.
    pub(crate) fn enter(self: &Arc<Self>) -> Result<Permit, ApiError> {
        self.open.fetch_add(1, Ordering::SeqCst);
        let permit = Permit(Arc::clone(self));
        if self.draining.is_cancelled() { Err(ApiError::shutting_down()) } else { Ok(permit) }
    }

    /// Closes the gate and waits until everything inside has ended, then cuts what is left.
    pub(crate) async fn drain(&self, patience: Duration) {
        self.draining.cancel();
        let empty = async {
            loop {
                let idle = self.idle.notified();
                if self.open.load(Ordering::SeqCst) == 0 {
                    return;
                }
                idle.await;
            }
        };
        if tokio::time::timeout(patience, empty).await.is_err() {
            let left = self.open.load(Ordering::SeqCst);
            tracing::warn!(answers = left, "the drain time is over; open answers are cut");
        }
        self.cut.cancel();
    }
}

/// One answer under way.
#[derive(Debug)]
pub(crate) struct Permit(Arc<Gate>);

impl Drop for Permit {
    fn drop(&mut self) {
        if self.0.open.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.idle.notify_waiters();
        }
    }
}

/// How long an answer may become. `asked` is the client's bound with the field that it came in;
/// `prompt_field` is the field at fault when the prompt is too long.
pub(crate) fn room(
    limits: &Limits,
    prompt: usize,
    asked: Option<(u32, &str)>,
    prompt_field: &str,
) -> Result<u32, Invalid> {
    let context = limits.context as usize;
    let left = context.saturating_sub(prompt);
    if left == 0 {
        let message = format!(
            "This model's maximum context length is {context} tokens; the prompt has {prompt}. \
             Shorten the prompt."
        );
        return Err(Invalid::field(prompt_field, message).code("context_length_exceeded"));
    }
    let left = u32::try_from(left).unwrap_or(u32::MAX);
    match asked {
        None => Ok(left),
        Some((most, _)) if most <= left => Ok(most),
        Some((most, field)) => {
            let message = format!(
                "This model's maximum context length is {context} tokens; the prompt has {prompt} \
                 and `{field}` asks for {most} more. Ask for at most {left}."
            );
            Err(Invalid::field(field, message).code("context_length_exceeded"))
        }
    }
}

/// Keeps the last tokens of a prompt, as many as `truncate_prompt_tokens` says; -1: what leaves room for one more.
pub(crate) fn truncate(limits: &Limits, tokens: &mut Vec<u32>, most: Option<i64>) {
    let Some(most) = most else { return };
    let room = (limits.context as usize).saturating_sub(1);
    let most = usize::try_from(most).unwrap_or(room);
    if tokens.len() > most {
        tokens.drain(..tokens.len() - most);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prompt_and_answer_share_the_context() {
        let limits = Limits::of_model(100, 64);
        assert_eq!(room(&limits, 60, None, "messages"), Ok(4));
        assert_eq!(room(&limits, 60, Some((3, "max_tokens")), "messages"), Ok(3));
        let long = room(&limits, 64, None, "messages").unwrap_err();
        assert_eq!(long.param.as_deref(), Some("messages"));
        let greedy = room(&limits, 60, Some((5, "max_tokens")), "messages").unwrap_err();
        assert_eq!(greedy.param.as_deref(), Some("max_tokens"));
        assert_eq!(greedy.code, Some("context_length_exceeded"));
    }

    #[test]
    fn a_prompt_may_be_cut_at_its_beginning() {
        let limits = Limits::of_model(100, 4);
        for (most, left) in [
            (None, vec![1, 2, 3, 4, 5]),
            (Some(2), vec![4, 5]),
            (Some(-1), vec![3, 4, 5]),
            (Some(9), vec![1, 2, 3, 4, 5]),
        ] {
            let mut tokens = vec![1, 2, 3, 4, 5];
            truncate(&limits, &mut tokens, most);
            assert_eq!(tokens, left);
        }
    }

    #[tokio::test]
    async fn the_gate_waits_for_those_inside_and_lets_nobody_in() {
        let gate = Arc::new(Gate::default());
        let permit = gate.enter().unwrap();
        let drain = gate.drain(Duration::from_secs(60));
        tokio::pin!(drain);
        assert!(tokio::time::timeout(Duration::from_millis(20), &mut drain).await.is_err());
        assert_eq!(gate.enter().unwrap_err().status(), 503);
        drop(permit);
        drain.await;
        assert!(gate.cut.is_cancelled());
    }
}
