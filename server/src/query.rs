//! Query strings, taken apart parameter by parameter, so that every fault is told by name.

use std::collections::BTreeMap;
use std::str::FromStr;

use actix_web::{HttpRequest, web};
use hone_api::error::Invalid;
use hone_store::Order;
use serde::Serialize;
use utoipa::ToSchema;

use crate::error::ApiError;

/// Entries of a page, if the client says nothing.
const PAGE: usize = 20;
/// Entries of a page at most.
const MOST: usize = 1000;
/// Keys of `metadata` that a list may be filtered by.
const PAIRS: usize = hone_api::keeping::METADATA_PAIRS;

/// The parameters of a query string that nobody has taken yet.
#[derive(Debug)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    pub(crate) fn of(request: &HttpRequest) -> Result<Self, Invalid> {
        let pairs = web::Query::<Vec<(String, String)>>::from_query(request.query_string());
        let pairs = pairs.map_err(|error| {
            Invalid::new(format!("the query string cannot be read ({error}); use name=value&…"))
        })?;
        Ok(Self(pairs.into_inner()))
    }

    /// Takes a text out; an empty one counts as missing.
    pub(crate) fn text(&mut self, name: &str) -> Option<String> {
        self.last(name).filter(|value| !value.is_empty())
    }

    /// Takes a parameter out; the last of several counts.
    fn last(&mut self, name: &str) -> Option<String> {
        let mut found = None;
        self.0.retain_mut(|(key, value)| {
            let hit = key == name;
            if hit {
                found = Some(std::mem::take(value));
            }
            !hit
        });
        found
    }

    /// Takes `after` out: the place in a list that a page begins behind. An empty one is the list's beginning.
    pub(crate) fn after<T: FromStr>(&mut self, what: &str) -> Result<Option<T>, Invalid> {
        self.0.retain(|(name, value)| name != "after" || !value.is_empty());
        self.take("after", what)
    }

    /// Takes a parameter out and reads it.
    pub(crate) fn take<T: FromStr>(
        &mut self,
        name: &str,
        what: &str,
    ) -> Result<Option<T>, Invalid> {
        let Some(text) = self.last(name) else { return Ok(None) };
        text.parse()
            .map(Some)
            .map_err(|_| Invalid::field(name, format!("`{name}` must be {what}, not `{text:.60}`")))
    }

    /// Takes `limit` out: 1 to 1000, default 20.
    pub(crate) fn limit(&mut self) -> Result<usize, Invalid> {
        Ok(self.limit_if_given()?.unwrap_or(PAGE))
    }

    /// Takes `limit` out, for lists that are short enough to be shown whole.
    pub(crate) fn limit_if_given(&mut self) -> Result<Option<usize>, Invalid> {
        let what = "a whole number from 1 to 1000";
        match self.take("limit", what)? {
            None => Ok(None),
            Some(limit) if (1..=MOST).contains(&limit) => Ok(Some(limit)),
            Some(limit) => {
                Err(Invalid::field("limit", format!("`limit` must be {what}, not {limit}")))
            }
        }
    }

    /// Takes `order` out: `asc` or `desc`.
    pub(crate) fn order(&mut self, default: Order) -> Result<Order, Invalid> {
        let word = self.take::<OrderWord>("order", "asc or desc")?;
        Ok(word.map_or(default, Order::from))
    }

    /// Takes all `metadata[key]=value` out: as many as an answer can have, so that a query stays
    /// small enough for the database.
    pub(crate) fn metadata(&mut self) -> Result<BTreeMap<String, String>, Invalid> {
        let mut pairs = BTreeMap::new();
        self.0.retain_mut(|(key, value)| {
            let name = key.strip_prefix("metadata[").and_then(|rest| rest.strip_suffix(']'));
            if let Some(name) = name {
                pairs.insert(name.to_owned(), std::mem::take(value));
            }
            name.is_none()
        });
        if pairs.keys().any(|key| key.is_empty() || key.contains(['[', ']'])) {
            let message =
                "`metadata` filters by keys without brackets; write `metadata[key]=value`";
            return Err(Invalid::field("metadata", message));
        }
        if pairs.len() > PAIRS {
            let message = format!("`metadata` filters by {} keys; at most {PAIRS}", pairs.len());
            return Err(Invalid::field("metadata", message));
        }
        Ok(pairs)
    }

    /// The names of the parameters that nobody took.
    pub(crate) fn unknown(self) -> Vec<String> {
        self.0.into_iter().map(|(name, _)| name).collect()
    }

    /// Ends the reading of a query in which unknown parameters are errors.
    pub(crate) fn finish(self) -> Result<(), Invalid> {
        match self.0.into_iter().next() {
            None => Ok(()),
            Some((name, _)) => {
                let message = format!("`{name:.60}` is not a parameter of this request");
                Err(Invalid::field(&name, message).code("unknown_parameter"))
            }
        }
    }
}

/// `order` in a query.
#[derive(Debug, Clone, Copy, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum OrderWord {
    /// Oldest first.
    Asc,
    /// Newest first.
    Desc,
}

impl FromStr for OrderWord {
    type Err = ();

    fn from_str(word: &str) -> Result<Self, ()> {
        match word {
            "asc" => Ok(Self::Asc),
            "desc" => Ok(Self::Desc),
            _ => Err(()),
        }
    }
}

impl From<OrderWord> for Order {
    fn from(word: OrderWord) -> Self {
        match word {
            OrderWord::Asc => Self::Ascending,
            OrderWord::Desc => Self::Descending,
        }
    }
}

/// A page of a list, in OpenAI's shape.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct List<T> {
    /// `list`.
    object: &'static str,
    /// The entries.
    data: Vec<T>,
    /// For `after`, going back.
    first_id: Option<String>,
    /// For `after`, going on.
    last_id: Option<String>,
    /// Whether more would follow.
    has_more: bool,
}

/// Which part of a list that is there whole is wanted.
#[derive(Debug)]
pub(crate) struct Page {
    after: Option<String>,
    limit: usize,
    order: Order,
}

impl Page {
    /// Takes `after`, `limit` and `order` out.
    pub(crate) fn of(query: &mut Query, default: Order) -> Result<Self, Invalid> {
        let (after, limit) = (query.text("after"), query.limit()?);
        Ok(Self { after, limit, order: query.order(default)? })
    }
}

impl<T> List<T> {
    /// A page of a list that is there whole, oldest first. `what` says what `after` must be.
    ///
    /// # Errors
    /// `after` is none of the ids.
    pub(crate) fn page(
        mut all: Vec<T>,
        page: Page,
        what: &str,
        id: impl Fn(&T) -> String,
    ) -> Result<Self, Invalid> {
        if page.order == Order::Descending {
            all.reverse();
        }
        if let Some(after) = page.after {
            let at = all.iter().position(|entry| id(entry) == after).ok_or_else(|| {
                Invalid::field("after", format!("`after` must be {what}, not `{after:.80}`"))
            })?;
            all.drain(..=at);
        }
        let has_more = all.len() > page.limit;
        all.truncate(page.limit);
        Ok(Self::new(all, has_more, id))
    }

    pub(crate) fn new(data: Vec<T>, has_more: bool, id: impl Fn(&T) -> String) -> Self {
        let (first_id, last_id) = (data.first().map(&id), data.last().map(&id));
        Self { object: "list", data, first_id, last_id, has_more }
    }
}

/// Reads an id in a path; what is no id names nothing.
pub(crate) fn path_id<T: std::str::FromStr>(text: &str) -> Result<T, ApiError>
where
    T::Err: std::fmt::Display,
{
    text.parse().map_err(|error: T::Err| ApiError::not_found(error.to_string()))
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    fn query(text: &str) -> Query {
        Query::of(&TestRequest::with_uri(&format!("/?{text}")).to_http_request()).unwrap()
    }

    #[test]
    fn metadata_comes_in_brackets() {
        let mut query = query("metadata[app]=test&metadata%5Bx%5D=a%20b&limit=3");
        let metadata = query.metadata().unwrap();
        assert_eq!(metadata["app"], "test");
        assert_eq!(metadata["x"], "a b");
        assert_eq!(query.limit(), Ok(3));
        assert_eq!(query.finish(), Ok(()));
    }

    #[test]
    fn faults_are_named() {
        assert_eq!(query("limit=0").limit().unwrap_err().param.as_deref(), Some("limit"));
        assert_eq!(query("limit=x").limit().unwrap_err().param.as_deref(), Some("limit"));
        assert_eq!(query("color=red").finish().unwrap_err().param.as_deref(), Some("color"));
        assert!(query("order=up").order(Order::Ascending).is_err());
        assert!(query("order=").order(Order::Ascending).is_err());
        assert_eq!(
            query("metadata[]=x").metadata().unwrap_err().param.as_deref(),
            Some("metadata")
        );
        assert!(query("metadata[a][b]=x").metadata().is_err());
        assert_eq!(query("after=").after::<u64>("a number"), Ok(None));
        assert!(query("after=x").after::<u64>("a number").is_err());
    }
}
