//! How registries are read: with every kind of login, through proxies and mirrors, and when they fail.
//! Registries are real ones; what they would not do by themselves, a proxy in front of them does.

mod bearer;
mod content;
mod failures;
mod login;
pub mod published;
mod redirects;
mod requests;
mod secrets;
mod tls;
mod token;
