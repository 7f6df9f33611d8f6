"""What people read of a compilation. Nothing here imports TensorFlow."""
