//! nginx's configuration language, read into our model.
