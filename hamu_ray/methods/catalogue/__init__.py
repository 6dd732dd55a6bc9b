"""The methods and forget objectives. Each module is found by itself; there is no other list of them."""
