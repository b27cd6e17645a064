"""The checks of an export, one a file; `order.CHECKS` lists them."""
