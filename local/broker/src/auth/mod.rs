//! Who may connect, publish and subscribe: EMQX's HTTP authenticator and HTTP authorization source
//! (`emqx_authn_http.erl`, `emqx_authz_http.erl`), request by request and answer by answer.

mod acl;
mod answer;
mod authn;
mod authz;
mod cache;
mod client;
mod render;

pub use acl::{Operation, Rule as AclRule};
pub use authn::{Authenticator, Grant, Verdict};
pub use authz::Authorizer;
pub use client::{Client, Identity};
