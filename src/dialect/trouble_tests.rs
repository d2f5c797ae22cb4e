//! What failed answers mean: recorded ones, ones written after what servers send, and any bytes.
