//! Sections of the agent alone: capture, analysis, Kubernetes, filters, privileges.

pub(super) mod capture;
pub(super) mod detect;
pub(super) mod filters;
pub(super) mod kubernetes;
pub(super) mod privileges;
