//! Telemetry of a build without the feature: there is none.

use std::sync::Arc;
use std::time::Duration;

use p2p_core::{ConnId, ManagerConfig, Setup};
use p2p_proto::Initiator;
use tracing::warn;

use super::Counters;
use crate::ManagerError;

#[derive(Debug)]
pub(crate) struct Telemetry;

#[derive(Debug)]
pub(crate) struct Prepared;

#[allow(
    clippy::needless_pass_by_ref_mut,
    reason = "as those of a build with the feature"
)]
impl Telemetry {
    pub(crate) fn off(_: Arc<Counters>, _: Option<Duration>) -> Self {
        Self
    }

    /// One file may configure several builds: no error, but not silence either.
    pub(crate) fn prepare(&self, config: &ManagerConfig) -> Result<Prepared, ManagerError> {
        if config.enable_telemetry {
            warn!(
                target: "p2p_tokio", network = %config.network,
                "enable_telemetry is set, but this program was built without telemetry: nothing \
                 is exported. Build p2p-tokio with the feature \"telemetry\""
            );
        }
        Ok(Prepared)
    }

    pub(crate) fn commit(&mut self, _: Prepared) {}

    pub(crate) fn opened(&mut self, _: &Setup) {}

    pub(crate) fn connected(&mut self, _: ConnId) {}

    pub(crate) fn shaken_hands(&mut self, _: ConnId, _: &str) {}

    pub(crate) fn established(&mut self, _: ConnId) {}

    pub(crate) fn ended(&mut self, _: ConnId, _: &'static str, _: Initiator) {}

    pub(crate) async fn end(self, _: Duration) {}
}
