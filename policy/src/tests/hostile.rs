//! Rules that are made to take long: each ends soon, in a policy or in an error that names them.
