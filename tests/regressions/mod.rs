//! One numbered test for each fault that a user could have met, so that it stays mended.
