//! Where models are kept and asked for, by the variables that huggingface_hub has.

use std::path::{Path, PathBuf};

use reqwest::Url;

use crate::Error;

/// The hub that is asked when nobody names another.
const ENDPOINT: &str = "https://huggingface.co";

/// Where to keep models, whom to ask, and as whom.
#[derive(Clone)]
pub struct HubSettings {
    /// The cache: `HF_HUB_CACHE`, or `hub` in `HF_HOME` (default `~/.cache/huggingface`).
    pub cache: PathBuf,
    /// `HF_ENDPOINT`, without a slash at its end.
    pub endpoint: String,
    /// `HF_TOKEN`, or what stands in the file `HF_TOKEN_PATH` (default `token` in `HF_HOME`).
    pub token: Option<String>,
    /// `HF_HUB_OFFLINE`: nothing may be asked.
    pub offline: bool,
}

impl std::fmt::Debug for HubSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HubSettings")
            .field("cache", &self.cache)
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}

impl HubSettings {
    /// The process's environment.
    ///
    /// # Errors
    /// [`Error::NoHome`], [`Error::Endpoint`]
    pub fn from_process() -> Result<Self, Error> {
        Self::from_variables(|name| std::env::var(name).ok())
    }

    /// The same from any variables; an empty one is none.
    ///
    /// # Errors
    /// Those of [`Settings::from_process`].
    pub fn from_variables(get: impl Fn(&str) -> Option<String>) -> Result<Self, Error> {
        let get = |name: &str| get(name).map(|v| v.trim().to_owned()).filter(|v| !v.is_empty());
        let user = get("HOME").map(PathBuf::from);
        let path = |text: String| match (text.strip_prefix("~/"), &user) {
            (Some(rest), Some(user)) => user.join(rest),
            _ => PathBuf::from(text),
        };
        let home = || {
            let named = get("HF_HOME").map(path);
            let cached = || get("XDG_CACHE_HOME").map(|dir| path(dir).join("huggingface"));
            let usual = || user.as_ref().map(|user| user.join(".cache/huggingface"));
            named.or_else(cached).or_else(usual)
        };
        let cache = get("HF_HUB_CACHE").map(path).or_else(|| Some(home()?.join("hub")));
        let token_file = get("HF_TOKEN_PATH").map(path).or_else(|| Some(home()?.join("token")));
        let endpoint = get("HF_ENDPOINT").unwrap_or_else(|| ENDPOINT.to_owned());
        let is_address = Url::parse(&endpoint)
            .is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        if !is_address {
            return Err(Error::Endpoint(endpoint));
        }
        let yes = |text: String| ["1", "true", "yes", "on"].contains(&text.to_lowercase().as_str());
        Ok(Self {
            cache: cache.ok_or(Error::NoHome)?,
            endpoint: endpoint.trim_end_matches('/').to_owned(),
            token: get("HF_TOKEN").or_else(|| token_in(&token_file?)),
            offline: get("HF_HUB_OFFLINE").is_some_and(yes),
        })
    }
}

fn token_in(file: &Path) -> Option<String> {
    let text = fs_err::read_to_string(file).ok()?;
    Some(text.trim().to_owned()).filter(|token| !token.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(variables: &[(&str, &str)]) -> Result<HubSettings, Error> {
        HubSettings::from_variables(|name| {
            variables.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn the_variables_are_those_of_huggingface_hub() {
        let plain = with(&[("HOME", "/home/ann")]).unwrap();
        assert_eq!(plain.cache, Path::new("/home/ann/.cache/huggingface/hub"));
        assert_eq!((plain.endpoint.as_str(), plain.offline), (ENDPOINT, false));
        let moved =
            with(&[("HOME", "/h"), ("HF_HOME", "~/hf"), ("HF_ENDPOINT", "http://m:1/")]).unwrap();
        assert_eq!(
            (moved.cache.as_path(), moved.endpoint.as_str()),
            (Path::new("/h/hf/hub"), "http://m:1")
        );
        let cache = with(&[("HF_HUB_CACHE", "/c"), ("HF_HUB_OFFLINE", "1")]).unwrap();
        assert!(cache.offline && cache.cache == Path::new("/c"));
        assert!(matches!(with(&[]), Err(Error::NoHome)));
        assert!(matches!(with(&[("HOME", "/h"), ("HF_ENDPOINT", "m:1")]), Err(Error::Endpoint(_))));
    }

    #[test]
    fn a_token_may_stand_in_a_file() {
        let home = tempfile::tempdir().unwrap();
        fs_err::write(home.path().join("token"), "hf_file\n").unwrap();
        let home = home.path().to_str().unwrap();
        assert_eq!(with(&[("HF_HOME", home)]).unwrap().token.as_deref(), Some("hf_file"));
        let both = with(&[("HF_HOME", home), ("HF_TOKEN", "hf_variable")]).unwrap();
        assert_eq!(both.token.as_deref(), Some("hf_variable"));
        assert!(!format!("{both:?}").contains("hf_variable"));
    }
}
