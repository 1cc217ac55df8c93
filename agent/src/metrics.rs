//! stub
#[derive(Default, Debug)]
pub struct TransactionMetrics;
impl TransactionMetrics {
    pub fn message(&mut self, _: &'static str, _: &'static str) {}
    #[allow(clippy::too_many_arguments)]
    pub fn transaction(
        &mut self,
        _: &'static str,
        _: &'static str,
        _: &str,
        _: &str,
        _: &'static str,
        _: &str,
        _: Option<f64>,
    ) {
    }
}
