"""Face verification: agreement with TensorFlow.js, error rates and attacks."""
