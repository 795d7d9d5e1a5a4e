//! The dashboard and the alerts read only what `/metrics` has.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use hone_tests::Hone;
use serde_json::{Value, json};

use crate::files::{all, path, tree};
use crate::promql::reads;

/// What Prometheus adds to each series, and the series that it makes itself.
const PROMETHEUS: [&str; 2] = ["job", "instance"];

/// Series names of a daemon, with the labels of each.
type Series = BTreeMap<String, BTreeSet<String>>;

/// The series of a daemon on which each thing has happened once that makes a series appear.
async fn series() -> Result<Series> {
    let hone = Hone::start().await?;
    let answer = hone.chat("hone", "Hi").await?;
    hone.thumbs(&answer.id, false).await?;
    let adapter = path("model/tests/golden/peft_adapter");
    let folder = hone.drop_folder().join("one");
    fs_err::create_dir_all(&folder)?;
    for file in ["adapter_config.json", "adapter_model.safetensors"] {
        fs_err::copy(adapter.join(file), folder.join(file))?;
    }
    let body = json!({"lora_name": "one", "lora_path": "one"});
    hone.post("/v1/load_lora_adapter", &body).await?.expect(200)?;
    let text = hone.get("/metrics").await?.expect(200)?;
    let mut series = Series::from([("up".to_owned(), BTreeSet::new())]);
    for line in text.as_str().context("no text")?.lines().filter(|line| !line.starts_with('#')) {
        let (name, rest) = line.split_at(line.find(['{', ' ']).context("no series")?);
        let labels = series.entry(name.to_owned()).or_default();
        labels.extend(PROMETHEUS.map(str::to_owned));
        let selector = rest.strip_prefix('{').and_then(|rest| rest.rsplit_once('}'));
        let pairs = selector.map_or("", |(pairs, _)| pairs).split("\",");
        labels.extend(pairs.filter_map(|pair| Some(pair.split_once("=\"")?.0.to_owned())));
    }
    series.entry("up".to_owned()).or_default().extend(PROMETHEUS.map(str::to_owned));
    Ok(series)
}

/// All that `expressions` read is there.
fn are_there(expressions: &[&str], series: &Series, file: &Path) -> Result<()> {
    ensure!(!expressions.is_empty(), "{} reads nothing", file.display());
    for expression in expressions {
        let reads = reads(expression);
        ensure!(!reads.is_empty(), "{}: {expression} reads nothing", file.display());
        for read in reads {
            let labels = series.get(&read.metric);
            let labels =
                labels.with_context(|| format!("there is no {}: {expression}", read.metric))?;
            let unknown: Vec<_> = read.labels.difference(labels).collect();
            ensure!(unknown.is_empty(), "{} has no {unknown:?}: {expression}", read.metric);
        }
    }
    Ok(())
}

#[tokio::test]
async fn alerts_and_panels_read_figures_that_there_are() -> Result<()> {
    let series = series().await?;
    for file in ["deploy/prometheus/alerts.yaml", "deploy/grafana/hone.json"] {
        let (tree, mut expressions) = (tree(file)?, Vec::new());
        all(&tree, "expr", &mut expressions);
        are_there(&expressions, &series, Path::new(file))?;
    }
    let slip = are_there(&["rate(hone_request_total[5m])"], &series, Path::new("-"));
    ensure!(slip.is_err_and(|error| error.to_string().contains("no hone_request_total")));
    let slip = are_there(&["hone_requests_total{code=\"500\"}"], &series, Path::new("-"));
    ensure!(slip.is_err_and(|error| error.to_string().contains("has no [\"code\"]")));
    Ok(())
}

#[test]
fn each_alert_is_tested_and_each_panel_is_one_of_a_kind() -> Result<()> {
    let (rules, tests) =
        (tree("deploy/prometheus/alerts.yaml")?, tree("deploy/prometheus/alerts.test.yaml")?);
    let (mut alerts, mut tested) = (Vec::new(), Vec::new());
    all(&rules, "alert", &mut alerts);
    all(&tests, "alertname", &mut tested);
    let untested: Vec<_> = alerts.iter().filter(|alert| !tested.contains(alert)).collect();
    ensure!(untested.is_empty(), "no test of {untested:?}");
    let page = crate::files::text("docs/production.md")?;
    let unknown: Vec<_> = alerts.iter().filter(|alert| !page.contains(**alert)).collect();
    ensure!(unknown.is_empty(), "docs/production.md does not say what to do about {unknown:?}");

    let dashboard = tree("deploy/grafana/hone.json")?;
    let panels = dashboard["panels"].as_array().context("no panels")?;
    let ids: BTreeSet<Option<u64>> = panels.iter().map(|panel| panel["id"].as_u64()).collect();
    ensure!(ids.len() == panels.len() && !ids.contains(&None), "panels share ids");
    let mut places = BTreeSet::new();
    for panel in panels {
        let place = &panel["gridPos"];
        let number = |key: &str| place[key].as_u64().context("no place");
        let (x, y, w, h) = (number("x")?, number("y")?, number("w")?, number("h")?);
        ensure!(x + w <= 24 && w > 0 && h > 0, "{}", panel["title"]);
        for column in x..x + w {
            for line in y..y + h {
                ensure!(places.insert((column, line)), "{} lies on another panel", panel["title"]);
            }
        }
        ensure!(panel["title"].as_str().is_some_and(|title| !title.is_empty()), "{panel}");
    }
    ensure!(dashboard["uid"] == Value::from("hone"));
    Ok(())
}
