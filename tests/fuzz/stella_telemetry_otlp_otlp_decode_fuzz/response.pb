
tenant differs