"""What a region of a page shows, as frozen dataclasses: built once, used by the page, its refresh and the API."""
