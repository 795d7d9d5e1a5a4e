//! Which series a PromQL expression reads.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use regex::Regex;

/// A metric and the labels by which an expression chooses or groups its series.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Read {
    pub(crate) metric: String,
    pub(crate) labels: BTreeSet<String>,
}

#[allow(clippy::unwrap_used, reason = "a constant")]
static TOKEN: LazyLock<Regex> = LazyLock::new(|| {
    // In this order: a text, a range, the labels of a join, a name (an aggregation with its labels, a function's,
    // or a metric's with its selector), a number.
    Regex::new(concat!(
        r#""(?:[^"\\]|\\.)*"|\[[^\]]*\]"#,
        r"|\b(?:by|without|on|ignoring|group_left|group_right)\s*\((?<joined>[^)]*)\)",
        r"|(?<name>[A-Za-z_:][\w:]*)\s*",
        r#"(?:(?<call>\(|(?:by|without)\s*\((?<grouped>[^)]*)\))|\{(?<selector>(?:[^"}]|"[^"]*")*)\})?"#,
        r"|[\d.]+\w*",
    ))
    .unwrap()
});

#[allow(clippy::unwrap_used, reason = "a constant")]
static MATCHER: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r#"(\w+)\s*(?:=~|!~|!=|=)\s*"[^"]*""#).unwrap());

/// What an expression reads. Names that are neither functions nor operators are metrics, so a name
/// with a slip of the pen is one, too. The labels of a grouping are asked of all of them.
pub(crate) fn reads(expression: &str) -> BTreeSet<Read> {
    let (mut found, mut grouped) = (Vec::new(), BTreeSet::new());
    for token in TOKEN.captures_iter(expression) {
        if let Some(labels) = token.name("joined").or(token.name("grouped")) {
            let labels =
                labels.as_str().split(',').map(str::trim).filter(|label| !label.is_empty());
            grouped.extend(labels.map(str::to_owned));
        }
        let Some(name) = token.name("name").filter(|_| token.name("call").is_none()) else {
            continue;
        };
        if ["and", "or", "unless", "bool", "offset"].contains(&name.as_str()) {
            continue;
        }
        let selector = token.name("selector").map_or("", |selector| selector.as_str());
        let labels = MATCHER.captures_iter(selector).map(|label| label[1].to_owned());
        found.push(Read { metric: name.as_str().to_owned(), labels: labels.collect() });
    }
    let with_groups = |mut read: Read| {
        read.labels.extend(grouped.iter().cloned());
        read
    };
    found.into_iter().map(with_groups).collect()
}

#[test]
fn an_expression_reads_its_metrics_with_its_labels() {
    let read = |metric: &str, labels: &[&str]| Read {
        metric: metric.to_owned(),
        labels: labels.iter().map(|label| (*label).to_owned()).collect(),
    };
    let quotient =
        r#"sum by (instance) (rate(a_total{job="hone", status=~"5..|}"}[5m])) / b > 0.02"#;
    let expected = [read("a_total", &["instance", "job", "status"]), read("b", &["instance"])];
    assert_eq!(reads(quotient), BTreeSet::from(expected));
    let joined =
        r#"hnoe_up == 0 and on (id) time() - start{} > 36 * 3600 or vector(1e3) offset 5m"#;
    assert_eq!(reads(joined), BTreeSet::from([read("hnoe_up", &["id"]), read("start", &["id"])]));
    let quantile = r#"histogram_quantile(0.95, sum by (le) (rate(t_bucket[$__rate_interval])))"#;
    assert_eq!(reads(quantile), BTreeSet::from([read("t_bucket", &["le"])]));
}
