//! Stores, fetches and tears down credentials; holds nothing between requests.
