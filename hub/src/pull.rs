//! A model, by its id: what is missing of it is downloaded.

use crate::{
    Error, HubSettings, HubSnapshot, Name,
    cache::Repo,
    client::{Client, offline},
    fetch::Fetch,
    listing::{self, Listing, Wanted, Wares},
    name::{is_commit, is_word},
};

/// Told while a model is downloaded: how many bytes of how many are there. The second grows when an index tells of shards.
pub type PullProgress<'a> = &'a mut (dyn FnMut(u64, u64) + Send);

/// A hub, and the cache in which its models are kept.
#[derive(Debug, Clone)]
pub struct Hub {
    settings: HubSettings,
}

impl Hub {
    /// A hub with these settings. Nothing is asked yet.
    #[must_use]
    pub fn new(settings: HubSettings) -> Self {
        Self { settings }
    }

    /// The model, if all that is needed of it lies in the cache, at the commit that its revision had when it was last
    /// asked for. Opens no connection.
    #[must_use]
    pub fn cached(&self, name: &Name) -> Option<HubSnapshot> {
        let repo = Repo::of(&self.settings.cache, name);
        repo.whole(name, &repo.commit(name.revision())?)
    }

    /// Asks the hub which commit the revision is, and downloads what is missing of it. Files that lie in the cache are
    /// used, whoever put them there; what was begun is gone on with.
    ///
    /// Blocks this thread; it may be called from anywhere.
    ///
    /// # Errors
    /// [`Error`]
    pub fn pull(&self, name: &Name, progress: PullProgress<'_>) -> Result<HubSnapshot, Error> {
        let failed = |reason: String| Error::Client(reason);
        std::thread::scope(|scope| {
            // A thread of its own: the caller may be inside of a runtime, in which none can be waited for.
            let pulling = scope.spawn(|| {
                let mut runtime = tokio::runtime::Builder::new_current_thread();
                let runtime =
                    runtime.enable_all().build().map_err(|error| failed(error.to_string()))?;
                runtime.block_on(self.download(name, progress))
            });
            pulling.join().unwrap_or_else(|_| Err(failed("the download panicked".to_owned())))
        })
    }

    async fn download(
        &self,
        name: &Name,
        progress: PullProgress<'_>,
    ) -> Result<HubSnapshot, Error> {
        if self.settings.offline {
            return Err(offline(&self.settings, name, "HF_HUB_OFFLINE is set".to_owned()));
        }
        let client = Client::new(&self.settings)?;
        let listing = client.listing(name).await?;
        if !is_commit(&listing.sha) {
            let reason = format!("`{}` is no commit", listing.sha);
            return Err(Error::Answer { url: self.settings.endpoint.clone(), reason });
        }
        let repo = Repo::of(&self.settings.cache, name);
        let mut pull = Pull { client, repo, name, listing, progress, done: 0, total: 0 };
        let names = pull.listing.siblings.iter().map(|file| file.name.as_str());
        match listing::wanted(name, names)? {
            Wanted::Gguf(file) => pull.get(&[file]).await?,
            Wanted::Folder { files, index } => {
                pull.get(&files).await?;
                if let Some(index) = index {
                    pull.shards(&index).await?;
                }
            }
        }
        let commit = pull.listing.sha;
        pull.repo.refer(name.revision(), &commit)?;
        pull.repo.whole(name, &commit).ok_or_else(|| Error::Answer {
            url: self.settings.endpoint.clone(),
            reason: "the files that it lists are no model".to_owned(),
        })
    }
}

/// A download under way.
struct Pull<'a> {
    client: Client,
    repo: Repo,
    name: &'a Name,
    listing: Listing,
    progress: PullProgress<'a>,
    done: u64,
    total: u64,
}

impl Pull<'_> {
    async fn get(&mut self, files: &[String]) -> Result<(), Error> {
        let wares = files.iter().map(|file| self.wares(file)).collect::<Result<Vec<_>, _>>()?;
        self.total += wares.iter().map(|wares| wares.size).sum::<u64>();
        for wares in &wares {
            let fetch = Fetch {
                client: &self.client,
                repo: &self.repo,
                name: self.name,
                commit: &self.listing.sha,
                wares,
            };
            let (before, total, progress) = (self.done, self.total, &mut *self.progress);
            fetch.run(&mut |done| progress(before + done, total)).await?;
            self.done += wares.size;
        }
        Ok(())
    }

    async fn shards(&mut self, index: &str) -> Result<(), Error> {
        let path = self.repo.snapshot(&self.listing.sha).join(index);
        let bytes = fs_err::read(&path).map_err(Error::io(&path))?;
        let shards = listing::shards(&bytes).ok_or_else(|| Error::Lacks {
            repo: self.name.repo().to_owned(),
            what: format!("shards that {index} could name"),
            remedy: "name another model or revision".to_owned(),
        })?;
        self.get(&shards).await
    }

    fn wares(&self, file: &str) -> Result<Wares, Error> {
        let lacks = |remedy: &str| Error::Lacks {
            repo: self.name.repo().to_owned(),
            what: file.to_owned(),
            remedy: remedy.to_owned(),
        };
        // Both make paths in the cache.
        let plain = file.split('/').all(is_word);
        let found = self.listing.siblings.iter().find(|sibling| plain && sibling.name == file);
        let found = found.ok_or_else(|| lacks("name another model or revision"))?;
        found
            .wares()
            .ok_or_else(|| lacks("its hub does not say how long it is and how it is known"))
    }
}
