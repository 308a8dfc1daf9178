"""Reports: what runs came to, as a page with figures."""
