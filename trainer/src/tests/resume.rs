//! A job that was cut off goes on, and ends with the same bytes.

use super::*;

#[test]
fn an_interrupted_job_ends_with_the_same_bytes() {
    let whole = tempfile::tempdir().unwrap();
    job(whole.path(), 24, |_| {});
    run(whole.path(), &mut |_| {}).unwrap();
    let torn = tempfile::tempdir().unwrap();
    // Another thread count and the other way of keeping intermediates: neither changes a bit.
    job(torn.path(), 24, |job| {
        job.threads = 1;
        job.training.recompute = Recompute::Always;
    });
    for stop in [3, 7] {
        let stopped = catch_unwind(AssertUnwindSafe(|| {
            run(torn.path(), &mut |line| {
                assert!(line.phase != Phase::Train || line.step != stop, "killed");
            })
        }));
        assert!(stopped.is_err());
    }
    let outcome = run(torn.path(), &mut |_| {}).unwrap();
    assert_eq!(outcome.resumed_at, Some(6));
    let figures = crate::tfevents::tests::figures(torn.path());
    let steps: std::collections::BTreeSet<_> = figures["loss"].iter().map(|it| it.0).collect();
    assert!(steps.into_iter().eq(1..=10));
    assert_eq!(adapter_bytes(whole.path()), adapter_bytes(torn.path()));
}

#[test]
fn a_job_that_was_killed_while_it_showed_more_ends_with_the_same_bytes() {
    let focused = |dir: &Path, threads| {
        job(dir, 24, |job| (job.training.focus, job.threads) = (3, threads));
        let worded = |line: &str| line.replacen('{', r#"{"wordings":["So what?","Tell me."],"#, 1);
        let mut lines: Vec<String> = rows(24).lines().map(worded).collect();
        let kept = |text: &str| {
            format!(
                r#"[{{"role":"user","content":"{text}"}},{{"role":"assistant","content":"Yes."}}]"#
            )
        };
        let (first, then) = (kept("Is it raining?"), kept("Are you well?"));
        lines.push(format!(
            r#"{{"kind":"rehearsal","split":"train","messages":{first},"alternates":[{then}]}}"#
        ));
        fs_err::write(dir.join("rows.jsonl"), lines.join("\n")).unwrap();
    };
    let (whole, torn) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    focused(whole.path(), 2);
    let steps = run(whole.path(), &mut |_| {}).unwrap().steps;
    assert!(steps > 10, "10 are usual: {steps}");
    focused(torn.path(), 1);
    let killed = catch_unwind(AssertUnwindSafe(|| {
        run(torn.path(), &mut |line| assert!(line.step != 9, "killed"))
    }));
    assert!(killed.is_err());
    assert_eq!(run(torn.path(), &mut |_| {}).unwrap().resumed_at, Some(8));
    assert_eq!(adapter_bytes(whole.path()), adapter_bytes(torn.path()));
}

/// What an outcome says of the training itself.
fn figures(of: &TrainingOutcome) -> impl PartialEq + std::fmt::Debug + use<> {
    let losses = (of.train_loss, of.validation_loss);
    (of.steps, of.epochs, of.stopped_early, of.best_step, losses, of.adapter_digest.clone())
}

#[test]
fn a_job_that_was_killed_before_its_outcome_tells_the_same() {
    let stops_early: fn(&mut Job) = |job| {
        job.training.epochs = 12;
        job.training.learning_rate = 2e-2;
        job.training.early_stop_patience = 1;
    };
    let learns: fn(&mut Job) = |job| {
        job.training.rounds = 3;
        job.training.learned_loss = 100.0;
    };
    for change in [stops_early, learns] {
        let dir = tempfile::tempdir().unwrap();
        job(dir.path(), 12, change);
        fs_err::write(dir.path().join("rows.jsonl"), measured()).unwrap();
        let whole = run(dir.path(), &mut |_| {}).unwrap();
        assert!(whole.epochs < 12.0 && whole.train_loss > 0.0, "{whole:?}");
        fs_err::remove_file(dir.path().join("outcome.json")).unwrap();
        let again = run(dir.path(), &mut |_| {}).unwrap();
        assert_eq!(again.resumed_at, Some(whole.steps));
        assert_eq!(figures(&again), figures(&whole));
    }
}

#[test]
fn a_job_that_is_told_to_stop_loses_no_step() {
    let whole = tempfile::tempdir().unwrap();
    job(whole.path(), 12, |_| {});
    run(whole.path(), &mut |_| {}).unwrap();
    let torn = tempfile::tempdir().unwrap();
    job(torn.path(), 12, |job| job.training.checkpoint_every = 0);
    let stop = AtomicBool::new(false);
    let stopped = run_until(torn.path(), &stop, &mut |line| {
        stop.store(line.step == 2, std::sync::atomic::Ordering::Relaxed);
    });
    assert!(matches!(stopped, Err(Error::Stopped { step: 2 })));
    job(torn.path(), 12, |job| job.training.checkpoint_every = 0);
    assert_eq!(run(torn.path(), &mut |_| {}).unwrap().resumed_at, Some(2));
    assert_eq!(adapter_bytes(whole.path()), adapter_bytes(torn.path()));
}

#[test]
fn another_job_does_not_resume_from_its_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    job(dir.path(), 12, |_| {});
    let stopped = catch_unwind(AssertUnwindSafe(|| {
        run(dir.path(), &mut |line| assert_ne!(line.step, 3, "killed"))
    }));
    assert!(stopped.is_err());
    job(dir.path(), 12, |job| job.training.learning_rate = 1e-3);
    assert!(matches!(run(dir.path(), &mut |_| {}), Err(Error::Checkpoint { .. })));
}

#[test]
fn a_job_that_is_killed_between_two_rounds_ends_with_the_same_bytes() {
    let rounds: fn(&mut Job) = |job| {
        (job.training.epochs, job.training.rounds) = (1, 3);
        job.training.learned_loss = 0.0;
    };
    let whole = tempfile::tempdir().unwrap();
    job(whole.path(), 12, rounds);
    let expected = run(whole.path(), &mut |_| {}).unwrap();
    let torn = tempfile::tempdir().unwrap();
    job(torn.path(), 12, rounds);
    let kill = |when: fn(&TrainingProgress) -> bool| {
        let killed = catch_unwind(AssertUnwindSafe(|| {
            run(torn.path(), &mut |line| assert!(!when(line), "killed"))
        }));
        assert!(killed.is_err());
    };
    kill(|line| line.step == 3 && line.message.ends_with("it goes on"));
    kill(|line| line.step == 5);
    kill(|line| line.step == 6 && line.phase == Phase::Validate);
    let outcome = run(torn.path(), &mut |_| {}).unwrap();
    assert_eq!(outcome.resumed_at, Some(6));
    assert_eq!(figures(&outcome), figures(&expected));
    assert_eq!(adapter_bytes(whole.path()), adapter_bytes(torn.path()));
}
