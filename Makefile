# make help tells what there is.
