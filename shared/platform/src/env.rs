//! Configuration: what a deployment gives a worker as variables and secrets.
//!
//! Bindings are not looked up here: [`D1`](crate::d1::D1) and its like take the [`Env`] and a name, and find the
//! binding when they use it.

use std::fmt;
use std::sync::OnceLock;

use rs1_domain::json;
use serde_json::{Map, Value};
use wasm_bindgen::prelude::*;

use crate::Env;

#[wasm_bindgen(module = "/src/js/env.js")]
extern "C" {
    /// All variables and secrets, as a JSON object of strings.
    fn variables(env: &Env) -> String;
}

/// The plain-text variables and secrets of a deployment, by name. Numbers, booleans and lists are their JSON text.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Vars(Map<String, Value>);

impl Vars {
    /// Reads all of them.
    pub fn read(env: &Env) -> Self {
        // The other side writes nothing but an object of strings.
        match json::parse(&variables(env)) {
            Ok(Value::Object(vars)) => Self(vars),
            _ => Self::default(),
        }
    }

    /// The value of that name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).and_then(Value::as_str)
    }
}

impl fmt::Debug for Vars {
    /// The names only: values may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// A value that is made from the variables when an isolate first needs it, and then stays: a worker's
/// configuration. A deployment starts new isolates, so it cannot go stale.
///
/// Plain data only: the bounds of a `static` keep JavaScript handles out.
///
/// ```text
/// static CONFIG: PerIsolate<Result<Config, ConfigFaults>> = PerIsolate::new();
/// let config = CONFIG.get(&env, |vars| Config::from_vars(&|name| vars.get(name).map(str::to_owned)));
/// ```
#[derive(Debug, Default)]
pub struct PerIsolate<T>(OnceLock<T>);

impl<T> PerIsolate<T> {
    /// Nothing yet.
    pub const fn new() -> Self {
        Self(OnceLock::new())
    }

    /// The value, made by `make` the first time.
    pub fn get(&self, env: &Env, make: impl FnOnce(&Vars) -> T) -> &T {
        self.0.get_or_init(|| make(&Vars::read(env)))
    }
}
