//! Values of section `detect`.

use dnscribe_config::value;

value! {
    /// A share: more than 0, less than 1.
    #[derive(Clone, Copy, Debug, PartialEq)]
    Share(f64): "a share", "a number between 0 and 1, such as 0.98";
    |text| text.parse().ok().filter(|share| *share > 0.0 && *share < 1.0);
    ToString::to_string
}

value! {
    /// A factor: more than 1.
    #[derive(Clone, Copy, Debug, PartialEq)]
    Times(f64): "a factor", "a number above 1, such as 3";
    |text| text.parse().ok().filter(|times: &f64| *times > 1.0 && times.is_finite())
}
