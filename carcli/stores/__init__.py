"""Object stores: what is kept there is read and written whole, a request each."""
