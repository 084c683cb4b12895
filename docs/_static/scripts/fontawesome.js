// The icons come from the font beside it; the theme would load 1.5 MB of drawings as well.
