//! dev/testkit
