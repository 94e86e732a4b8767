//! Where included files come from.
//!
//! EMQX looks beside the file that includes and then in its `data/configs` directory
//! (`hocon_token:load_include/2`, `emqx_config:include_dirs/0`). Here a text may also be given
//! under the file's name: that is how a secret that production keeps in a file reaches the local
//! broker from the environment.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The directory of the main file, others beside it, and texts that stand in for files.
#[derive(Debug, Clone, Default)]
pub struct Includes {
    directories: Vec<PathBuf>,
    texts: BTreeMap<String, String>,
}

impl Includes {
    /// Looks for included files in `directory`.
    pub fn beside(directory: &Path) -> Self {
        Self { directories: vec![directory.to_owned()], texts: BTreeMap::new() }
    }

    /// Looks in `directory` for what is not in those before it.
    #[must_use]
    pub fn then_in(mut self, directory: &Path) -> Self {
        self.directories.push(directory.to_owned());
        self
    }

    /// Has `text` for the file `name`, whether or not there is such a file.
    #[must_use]
    pub fn with(mut self, name: &str, text: impl Into<String>) -> Self {
        self.texts.insert(name.to_owned(), text.into());
        self
    }

    /// The text of the included file `name`; `None` if there is no such file.
    ///
    /// # Errors
    /// Why the file that is there cannot be read.
    pub fn read(&self, name: &str) -> Result<Option<String>, String> {
        if let Some(text) = self.texts.get(name) {
            return Ok(Some(text.clone()));
        }
        for directory in &self.directories {
            let path = directory.join(name);
            match std::fs::read_to_string(&path) {
                Ok(text) => return Ok(Some(text)),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(format!("{}: {error}", path.display())),
            }
        }
        Ok(None)
    }
}
