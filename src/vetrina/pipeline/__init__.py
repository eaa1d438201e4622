"""Pipeline: connects the stages to a shop and runs them. The only package that knows the order of the stages."""
